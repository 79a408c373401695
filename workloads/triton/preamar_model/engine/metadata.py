"""Where may a plan run, and when are two the same? `engine.json` beside it says so.

A plan runs with the very TensorRT that wrote it, on the product that it was tried on. The driver does not
decide and is written down all the same, for whoever looks for a reason.
"""

import hashlib
import json
import platform
from collections.abc import Mapping
from pathlib import Path

from preamar_model.engine.build import EngineRecipe
from preamar_model.engine.device import Gpu

PLAN, METADATA = "model.plan", "engine.json"
METHOD = 1
"""To be raised when this package makes another plan from the same graph."""


def place(version: str, gpu: Gpu) -> dict[str, str]:
    """What a pod must be like to run it."""
    return {
        "tensorrt": version,
        "platform": f"{platform.system()}/{platform.machine()}".lower(),
        "capability": gpu.capability,
        "product": gpu.product,
    }


def key(graph: bytes, recipe: EngineRecipe, where: Mapping[str, str], wish: str) -> str:
    """SHA-256 over canonical JSON. ``graph`` is the serialised graph with its weights; ``wish`` the
    key of the optimisation, in which tools and calibration are."""
    parts = {
        "graph": hashlib.sha256(graph).hexdigest(),
        "recipe": recipe.canonical(),
        "where": dict(where),
        "wish": wish,
        "method": METHOD,
    }
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def write(folder: Path, plan: bytes, told: Mapping[str, object]) -> None:
    """The plan and what is said of it; published with the artefact, by its rename."""
    (folder / PLAN).write_bytes(plan)
    digest = "sha256:" + hashlib.sha256(plan).hexdigest()
    text = json.dumps({**told, "digest": digest}, indent=2, sort_keys=True)
    (folder / METADATA).write_text(text + "\n")


def mismatch(folder: Path, where: Mapping[str, str], batch: int) -> str | None:
    """Why the plan in ``folder`` cannot run here, with batches up to ``batch``; None if it can."""
    try:
        told = json.loads((folder / METADATA).read_text())
        made, digest, most = dict(told["where"]), told["digest"], int(told["batch"])
        plan = (folder / PLAN).open("rb")
    except (OSError, ValueError, KeyError, TypeError):
        return "there is no whole engine"
    with plan:
        if "sha256:" + hashlib.file_digest(plan, "sha256").hexdigest() != digest:
            return "the engine is not the one that was published"
    for word, value in where.items():
        if made.get(word) != value:
            return f"it was built for {word} {made.get(word)}, here is {value}"
    return f"it was built for batches up to {most}, not {batch}" if batch > most else None
