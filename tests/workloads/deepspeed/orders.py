"""Orders as the operator writes them, for tests to change."""

import copy
from typing import Any

ORDER: dict[str, Any] = {
    "job": "demo/gpt",
    "uid": "u1",
    "attempt": 1,
    "model": {"preset": "gpt-tiny", "parameters": {}},
    "parallelism": {"tensor": 1, "pipeline": 1, "expert": 1, "zeroStage": 1, "offload": "None"},
    "batch": {"global": 64, "micro": 8, "accumulation": 4},
    "deepspeedConfig": {},
    "data": {
        "sources": [{"name": "books", "path": "/mnt/data/books", "weight": "1"}],
        "shuffleSeed": 0,
    },
    "checkpoint": {
        "path": "/mnt/checkpoint/run1",
        "uri": "pvc://ckpt/run1",
        "everySteps": 50,
        "everySeconds": None,
        "keep": 3,
    },
    "steps": 300,
    "precision": "BF16",
    "export": {"path": "/mnt/export/gpt", "uri": "pvc://models/gpt"},
}


def order(**changes: Any) -> dict[str, Any]:
    """The example order with changes; `a__b` changes key b of map a."""
    result = copy.deepcopy(ORDER)
    for key, value in changes.items():
        *path, last = key.split("__")
        place = result
        for step in path:
            place = place[step]
        place[last] = value
    return result
