"""What must a size respect?

The few facts of a spec that decide it, as plain numbers: the planner needs no more, and the same
facts always have the same answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from preamar.api.recipe import Offload, TrainingPrecision
from preamar.api.shared import AcceleratorType
from preamar.api.training import TrainingJobSpec
from preamar.core.capacity.hardware import device_of
from preamar.core.quantities import amount
from preamar.core.training.backends.shapes import Shape, shape_of


@dataclass(frozen=True, slots=True)
class SizingProblem:
    """What a size must respect. Sizes are in workers, batches in samples, memory in bytes.

    ``micro`` 0 is chosen by the planner. ``shape`` is None where the model is not known; ``limit``
    is what a rank may use, None where that is not known, as on GPUs of no product that the
    catalogue has."""

    total: int
    micro: int = 0
    least: int = 1
    most: int = 1
    ranks_per_worker: int = 1
    tensor: int = 1
    pipeline: int = 1
    expert: int = 1
    zero_stage: int = 1
    offload: Offload = Offload.NONE
    element: int = 2
    """Bytes of a weight in the precision of training."""
    shape: Shape | None = None
    adam: bool = True
    """Whether the optimizer keeps Adam's two moments, as all figures of memory assume."""
    limit: int | None = None
    on_cpu: bool = False
    of_product: bool = False
    """Whether ``limit`` is an accelerator's own memory, which no field of the spec can raise."""

    @classmethod
    def of(cls, spec: TrainingJobSpec) -> Self:
        """What a spec asks of a size."""
        workers, split = spec.workers, spec.parallelism
        return cls(
            total=spec.batch.global_size,
            micro=spec.batch.micro,
            least=workers.min,
            most=workers.max,
            ranks_per_worker=workers.ranks_per_worker,
            tensor=split.tensor,
            pipeline=split.pipeline,
            expert=split.expert,
            zero_stage=split.zero_stage,
            offload=split.offload,
            element=4 if spec.precision == TrainingPrecision.FP32 else 2,
            shape=shape_of(spec),
            adam=_uses_adam(spec),
            limit=_limit(spec),
            on_cpu=spec.accelerator.type == AcceleratorType.CPU,
            of_product=spec.accelerator.type == AcceleratorType.GPU,
        )


def _limit(spec: TrainingJobSpec) -> int | None:
    if spec.accelerator.type != AcceleratorType.CPU:
        known = [device_of(product) for product in spec.accelerator.products]
        return min((each.memory for each in known if each), default=None) if all(known) else None
    text = spec.workers.resources.limits.get("memory")
    if text is None:
        return None
    return int(amount(text)) // spec.workers.ranks_per_worker


def _uses_adam(spec: TrainingJobSpec) -> bool:
    chosen = spec.deepspeed_config.get("optimizer")
    if chosen is None:
        return True
    kind = chosen.get("type") if isinstance(chosen, Mapping) else None
    return isinstance(kind, str) and kind.lower() in {"adam", "adamw"}
