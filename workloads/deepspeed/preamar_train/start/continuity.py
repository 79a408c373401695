"""May an attempt go on from the state it has loaded?

Before the first step: every tensor of the state, the position of optimizer and schedule, the
canary's loss and the number of samples must be those of the checkpoint, at any size. Otherwise
the attempt ends: DeepSpeed may load half a state, or none, without an error.
"""

import time
from dataclasses import dataclass
from typing import Any

from preamar_train.checkpoint import proof as proofs
from preamar_train.checkpoint.manifest import Manifest
from preamar_train.checkpoint.proof import Broken, Proof
from preamar_train.failures import Class, TrainerFailure


@dataclass(frozen=True, slots=True)
class Verified:
    """What the gate saw. `delta` is by how much the canary changed, in nats per token."""

    step: int
    before: int  # ranks that wrote the checkpoint
    tensors: int
    delta: float
    stepped_at: float  # when the step before the checkpoint ended, seconds since 1970

    def words(self, pause: float | None = None) -> dict[str, Any]:
        """As the operator hears of it; the pause is known after the first step."""
        return {
            "step": self.step,
            "from": self.before,
            "tensors": self.tensors,
            "lossDelta": f"{self.delta:.9f}",
            "pauseSeconds": None if pause is None else f"{pause:.3f}",
        }

    def pause(self) -> float:
        return max(0.0, time.time() - self.stepped_at)


def verify(manifest: Manifest, saved: Proof, now: Proof, batch: int, precision: str) -> Verified:
    """Raises `ContinuityBroken` with one sentence that has the figures."""
    try:
        delta = proofs.compare(saved, now, precision)
        _count(manifest, batch)
    except Broken as broken:
        raise TrainerFailure(
            Class.CONTINUITY_BROKEN,
            f"The state of step {manifest.step} did not come through: {broken}.",
        ) from broken
    tensors = sum(map(len, saved.tensors.values()))
    return Verified(manifest.step, manifest.world_size, tensors, delta, saved.stepped_at)


def _count(manifest: Manifest, batch: int) -> None:
    if manifest.consumed != manifest.step * batch:
        raise Broken(
            f"{manifest.consumed} samples are not {manifest.step} steps of {batch} samples"
        )
