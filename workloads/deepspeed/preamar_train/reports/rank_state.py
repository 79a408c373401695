"""How ranks tell their agent what they do: one small JSON file each, replaced atomically.

A reader sees the old words or the new ones, never a mixture, also when a rank is killed
while it writes. The files die with the pod; nothing that must last is kept here.
"""

import json
import os
from pathlib import Path
from typing import Any


def directory() -> Path:
    return Path(os.environ.get("PREAMAR_STATE", "/tmp/preamar"))


def write(path: Path, words: dict[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(words, separators=(",", ":"), allow_nan=False))
    temporary.replace(path)


def read(path: Path) -> dict[str, Any]:
    """The words, or an empty map when there are none yet."""
    try:
        words = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return words if isinstance(words, dict) else {}


def of_rank(rank: int) -> Path:
    """Where a rank says its progress, its result and its failure."""
    return directory() / f"rank-{rank}.json"
