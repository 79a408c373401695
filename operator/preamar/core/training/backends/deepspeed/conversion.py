"""Must a checkpoint be converted for another number of ranks, and what does that need?

``preamar-train convert`` merges the shards, verifies every tensor and publishes the result beside the
checkpoint.
"""

from preamar.api.recipe import TrainingPrecision
from preamar.api.training import TrainingJobSpec

LEAST_MEMORY = 512 * 2**20


def converts(spec: TrainingJobSpec) -> bool:
    """Whether shards fit one number of ranks only. Without ZeRO, in FP32, each rank holds all."""
    return spec.parallelism.zero_stage > 0 or spec.precision != TrainingPrecision.FP32


def memory(size: int, ranks: int) -> int:
    """Bytes for a checkpoint of that size: one rank's shard at a time, as read and as taken apart."""
    return max(LEAST_MEMORY, 2 * (size // ranks))
