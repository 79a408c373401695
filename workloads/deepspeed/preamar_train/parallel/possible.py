"""Can the built-in models be split as ordered? Said in words before DeepSpeed would stumble.

The operator has the same rules (core/training/backends/deepspeed/parallelism.py and
core/training/admission/limits.py), so that a job which cannot run never gets here.
"""

from preamar_train.models.presets import ModelShape
from preamar_train.request import TrainRequest, bad


def must_be_possible(request: TrainRequest, shape: ModelShape) -> None:
    """Raises the user's `ConfigError` with what to change."""
    tensor, pipeline, expert = request.tensor, request.pipeline, request.expert
    if pipeline > 1 and request.zero_stage > 1:
        raise bad("parallelism.pipeline needs parallelism.zeroStage 0 or 1")
    if pipeline > shape.layers:
        raise bad(f"{shape.layers} layers cannot fill {pipeline} stages of parallelism.pipeline")
    for name in ("heads", "kv_heads", "intermediate", "vocabulary"):
        if getattr(shape, name) % tensor:
            raise bad(
                f"parallelism.tensor {tensor} does not divide the model's {name.replace('_', '-')} "
                f"({getattr(shape, name)})"
            )
    if shape.experts and max(tensor, pipeline) > 1:
        raise bad("a model with experts needs parallelism.tensor and parallelism.pipeline 1")
    if expert == 1:
        return
    if shape.experts % expert or not shape.experts:
        raise bad(
            f"parallelism.expert {expert} does not divide the model's {shape.experts} experts"
        )
    if request.zero_stage not in {1, 2}:
        raise bad("parallelism.expert needs parallelism.zeroStage 1 or 2")
