"""Which keys of DeepSpeed's configuration may a user not set? Those that follow from other fields of
the spec; the trainer refuses most of them too."""

from collections.abc import Mapping
from typing import Any

OWNED_KEYS = frozenset(
    {
        "train_batch_size",
        "train_micro_batch_size_per_gpu",
        "gradient_accumulation_steps",
        "elasticity",
        "bf16",
        "fp16",
        "amp",
        "checkpoint",
        "pipeline",
        "tensor_parallel",
        "autotuning",
        # These change which ranks share a batch or the experts, behind the planner's back.
        "sequence_parallel_size",
        "expert_parallel",
    }
)
OWNED_IN_ZERO = frozenset(
    {"stage", "offload_param", "offload_optimizer", "mics_shard_size", "zero_hpz_partition_size"}
)
"""The same within zero_optimization."""


def owned(config: Mapping[str, Any]) -> list[str]:
    """The keys of the user's that are ours."""
    zero = config.get("zero_optimization")
    inside = OWNED_IN_ZERO & set(zero) if isinstance(zero, Mapping) else ()
    return sorted([*(OWNED_KEYS & set(config)), *(f"zero_optimization.{key}" for key in inside)])
