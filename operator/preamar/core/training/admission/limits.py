"""Which wishes can this version not fulfil?

One row each. A wish that would change what is trained, what it costs or whether it fits stops the
job before any pod exists; one that only means "when you can" is named in a condition and kept.
"""

from collections.abc import Callable
from typing import NamedTuple

from preamar.api.recipe import Offload
from preamar.api.shared import AcceleratorType, Sharing, Topology
from preamar.api.training import Lending, TrainingJob, TrainingJobSpec
from preamar.core.training.backends.chosen import BACKEND
from preamar.core.training.backends.shapes import shape_of


class Unfulfilled(NamedTuple):
    """A field, whether it asks for something that is not there yet, and what to write instead."""

    field: str
    asks: Callable[[TrainingJobSpec], bool]
    instead: str


def _elsewhere(uri: str | None) -> bool:
    return uri is not None and not uri.startswith("pvc://")


READABLE = ("pvc://", "s3://", "gs://", "az://", "https://")


def _has_experts(spec: TrainingJobSpec) -> bool:
    shape = shape_of(spec)
    return shape is not None and shape.experts > 0


_VOLUME = "only pvc://claim/path is supported so far: use a PersistentVolumeClaim of this namespace"
STOPS: tuple[Unfulfilled, ...] = (
    Unfulfilled("checkpoint.uri", lambda s: _elsewhere(s.checkpoint.uri), _VOLUME),
    Unfulfilled(
        "data.sources",
        lambda s: any(not d.uri.startswith(READABLE) for d in s.data.sources),
        "data is read from pvc://, s3://, gs://, az:// and https:// so far",
    ),
    Unfulfilled(
        "data.prepare.target",
        lambda s: _elsewhere(s.data.prepare.target if s.data.prepare else None),
        _VOLUME,
    ),
    Unfulfilled("export.uri", lambda s: _elsewhere(s.export.uri if s.export else None), _VOLUME),
    Unfulfilled(
        "parallelism.tensor",
        lambda s: s.parallelism.tensor > 1 and _has_experts(s),
        "the presets with experts need 1",
    ),
    Unfulfilled(
        "parallelism.pipeline",
        lambda s: s.parallelism.pipeline > 1 and _has_experts(s),
        "the presets with experts need 1",
    ),
    Unfulfilled(
        "parallelism.zeroStage",
        lambda s: (
            s.parallelism.expert > 1 and s.parallelism.zero_stage not in {1, 2} and _has_experts(s)
        ),
        "presets whose experts are shared need 1 or 2",
    ),
    Unfulfilled(
        "parallelism.offload", lambda s: s.parallelism.offload != Offload.NONE, "set it to None"
    ),
    Unfulfilled(
        "deepspeedConfig",
        lambda s: bool(BACKEND.owned(s.deepspeed_config)),
        "batch sizes, precision and parallelism follow from other fields: remove {keys}",
    ),
    Unfulfilled(
        "placement.topology", lambda s: s.placement.topology != Topology.NONE, "set it to None"
    ),
    Unfulfilled(
        "accelerator.sharing",
        lambda s: (
            s.accelerator.type == AcceleratorType.GPU and s.accelerator.sharing != Sharing.EXCLUSIVE
        ),
        "set it to Exclusive and name the slice in accelerator.resourceName",
    ),
    Unfulfilled(
        "args", lambda s: bool(s.args) and not s.command, "arguments need a command of your own"
    ),
)
WAITS: tuple[Unfulfilled, ...] = (
    Unfulfilled(
        "lending",
        lambda s: s.lending != Lending.NEVER,
        "the job keeps its accelerators for now",
    ),
    Unfulfilled("priority", lambda s: s.priority != 0, "jobs start in the order they come"),
)


def stops(job: TrainingJob) -> str:
    """What cannot be fulfilled, a clause each; empty if everything can."""
    return "; ".join(
        f"spec.{row.field} is not supported by this version: "
        + row.instead.format(keys=", ".join(BACKEND.owned(job.spec.deepspeed_config)))
        for row in STOPS
        if row.asks(job.spec)
    )


def waits(job: TrainingJob) -> str:
    """What has no effect yet and does no harm; empty if everything has."""
    rows = [f"spec.{row.field} ({row.instead})" for row in WAITS if row.asks(job.spec)]
    return f" Without effect in this version: {', '.join(rows)}." if rows else ""
