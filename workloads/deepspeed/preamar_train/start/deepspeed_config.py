"""What DeepSpeed is told.

The user's `deepspeedConfig` passes through except for the keys that the planner owns: batch
sizes, ZeRO stage, precision, elasticity and parallelism. A user's key of those is an error and
never silently dropped, because the planner's arithmetic would no longer be true.
"""

from collections.abc import Mapping
from typing import Any

from preamar_train.models.presets import ModelShape
from preamar_train.request import TrainRequest, bad

OWNED = (
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
    "expert_parallel",
    "sequence_parallel_size",
    "autotuning",
)
OWNED_IN_ZERO = ("stage", "offload_param", "offload_optimizer")


def _defaults(request: TrainRequest, shape: ModelShape) -> dict[str, Any]:
    """How the built-in models learn."""
    return {
        "optimizer": {
            "type": "AdamW",
            "params": {
                "lr": shape.learning_rate,
                "betas": [0.9, 0.95],
                "weight_decay": shape.weight_decay,
            },
        },
        "scheduler": {
            "type": "WarmupCosineLR",
            "params": {
                "total_num_steps": max(request.steps, shape.warmup_steps + 1, 2),
                "warmup_num_steps": max(shape.warmup_steps, 1),
                "cos_min_ratio": 0.1,
            },
        },
        "gradient_clipping": 1.0,
    }


def config_of(
    request: TrainRequest,
    shape: ModelShape | None,
    *,
    gpu: bool,
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The whole DeepSpeed configuration of one rank. A script of one's own has no `shape`; what
    it says itself is `more`, which the job's `deepspeedConfig` overrides."""
    user = {**(more or {}), **request.deepspeed}
    refuse_owned(user)
    config = {
        **(_defaults(request, shape) if shape else {}),
        "steps_per_print": 10**9,  # progress is ours to print
        "wall_clock_breakdown": False,
        **user,
        "train_batch_size": request.global_batch,
        "train_micro_batch_size_per_gpu": request.micro_batch,
        "gradient_accumulation_steps": request.accumulation,
        "bf16": {"enabled": request.precision == "BF16"},
        "fp16": {"enabled": request.precision == "FP16"},
        "zero_optimization": {
            **_map(user, "zero_optimization"),
            "stage": request.zero_stage,
        },
    }
    if shape and request.expert > 1:
        config["expert_parallel"] = _experts(request, shape, gpu=gpu)
    return config if gpu else _without_compiled_adam(config)


def compiles(config: Mapping[str, Any]) -> bool:
    """Whether DeepSpeed would use torch.compile with it."""
    optimizer = str(_map(config, "optimizer").get("type", "")).lower()
    return optimizer == "muon" or "compile" in config


def _experts(request: TrainRequest, shape: ModelShape, *, gpu: bool) -> dict[str, Any]:
    """How DeepSpeed's AutoEP finds the experts of `mixture`, and computes what that computes."""
    return {
        "enabled": True,
        "autoep_size": request.expert,
        "moe_layer_pattern": r"model\.layers\.\d+\.block_sparse_moe",
        "router_pattern": "gate",
        "expert_pattern": "experts",
        **{f"expert_{name}": name for name in ("w1", "w2", "w3")},
        "top_k": shape.active_experts,
        "score_func": "softmax",
        "score_apply": "post",
        "route_norm": True,
        "use_grouped_mm": gpu,
    }


def refuse_owned(user: Mapping[str, Any]) -> None:
    for key in OWNED:
        if key in user:
            raise bad(f"deepspeedConfig.{key} is set by the planner; remove it")
    for key in OWNED_IN_ZERO:
        if key in _map(user, "zero_optimization"):
            raise bad(f"deepspeedConfig.zero_optimization.{key} is set by the planner; remove it")


def _map(user: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = user.get(key, {})
    if not isinstance(value, dict):
        raise bad(f"deepspeedConfig.{key} is not an object")
    return value


def _without_compiled_adam(config: dict[str, Any]) -> dict[str, Any]:
    # DeepSpeed's own Adam compiles C++ when first used; a trainer's pod has no compiler.
    optimizer = _map(config, "optimizer")
    if str(optimizer.get("type", "")).lower() in {"adam", "adamw"}:
        parameters = {**_map(optimizer, "params"), "torch_adam": True}
        config["optimizer"] = {**optimizer, "params": parameters}
    return config
