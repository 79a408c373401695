"""Is the state that was loaded the state that was saved, at whatever size?

Every checkpoint holds `proof.json`: a SHA-256 of each whole tensor (FP32 master weights and the
optimizer's moments), where optimizer and schedule stand, and the canary: the mean loss per token
on a few held-out samples. None of it depends on how many ranks hold the state. Ranks assemble
one tensor at a time and share the hashing, so that it costs little beside the save.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

PROOF = "proof.json"
MASTER = "fp32"
CANARY_SAMPLES = 8
# How far apart the canary may be in nats per token: sums in another order, not another model.
TOLERANCE = {"FP32": 1e-5, "BF16": 1e-2, "FP16": 1e-2}


class Broken(Exception):
    """What came back is not what was saved; the message says how they differ."""


@dataclass(frozen=True, slots=True)
class Proof:
    tensors: Mapping[str, Mapping[str, str]]  # name -> fp32 or moment -> SHA-256
    position: Mapping[str, Any]
    canary: float
    stepped_at: float  # seconds since 1970, end of the last step before the save


def part_name(name: str, cut: int | None, index: int, count: int) -> str:
    """How a proof calls part `index` of `count` of a tensor along dimension `cut`."""
    return name if cut is None or count == 1 else f"{name}@{cut}:{index}/{count}"


def of_part(words: str) -> tuple[str, int, int, int]:
    """The tensor, dimension, index and count of what a proof speaks of; count 1: the whole."""
    name, _, part = words.partition("@")
    if not part:
        return name, 0, 0, 1
    cut, _, numbers = part.partition(":")
    index, _, count = numbers.partition("/")
    return name, int(cut), int(index), int(count)


def digest(values: np.ndarray) -> str:
    """Of the values as little-endian float32. Adding zero makes -0.0 and 0.0 one number: ranks
    assemble a tensor by adding fragments to zeros, which does the same where there are several."""
    flat = np.ascontiguousarray(values, dtype="<f4").ravel() + np.float32(0)
    return hashlib.sha256(flat.tobytes()).hexdigest()


def write(folder: Path, proof: Proof) -> None:
    (folder / PROOF).write_text(json.dumps(asdict(proof), sort_keys=True, indent=1))


def read(folder: Path) -> Proof:
    """Raises `Broken` where there is none, as in checkpoints of plain DeepSpeed."""
    try:
        return Proof(**json.loads((folder / PROOF).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise Broken(f"{folder.name} holds no proof of its state") from error


def compare(saved: Proof, now: Proof, precision: str) -> float:
    """By how much the canary changed, in nats; raises `Broken` where the two are not one state."""
    wrong = [
        f"{name} ({key})"
        for name, hashes in saved.tensors.items()
        for key, each in hashes.items()
        if now.tensors.get(name, {}).get(key) != each
    ]
    if wrong or saved.tensors.keys() != now.tensors.keys():
        total = sum(map(len, saved.tensors.values()))
        first = wrong[0] if wrong else min(saved.tensors.keys() ^ now.tensors.keys())
        raise Broken(
            f"{len(wrong) or 'some'} of {total} tensors are not what was saved, {first} first"
        )
    for key, value in saved.position.items():
        if now.position.get(key) != value:
            raise Broken(f"{key} was {value} when it was saved and is {now.position.get(key)}")
    delta, most = now.canary - saved.canary, TOLERANCE[precision]
    if not abs(delta) <= most:  # also if either is no number
        raise Broken(
            f"the loss on {CANARY_SAMPLES} held-out samples was {saved.canary:.7f} when it was saved "
            f"and is {now.canary:.7f}, more than {most:g} apart"
        )
    return delta
