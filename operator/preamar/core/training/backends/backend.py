"""What must a trainer say of itself, so that jobs can be planned, admitted, started and resized?

All of it before any pod exists, from the few numbers of a ``SizingProblem`` or the spec. Sentences
are for the user and say what to change; an empty one means that nothing is wrong.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from preamar.api.training import TrainingJobSpec
from preamar.core.training.backends.sizing_problem import SizingProblem
from preamar.core.training.backends.speeds import Machine, StepTime


class Tool(NamedTuple):
    """A program of the trainer's image, and what its environment must say."""

    command: tuple[str, ...]
    environment: Mapping[str, str]


class TrainerBackend(Protocol):
    """One trainer. ``name`` is the label of its pods; ``image`` and ``gpu_image`` are names of the
    installation's images (``protocol.images``)."""

    name: str
    image: str
    gpu_image: str

    # Problem: at which sizes can it run?
    def impossible(self, terms: SizingProblem, /) -> str:
        """Why no size can serve this parallelism."""

    def ungrouped(self, terms: SizingProblem, ranks: int, /) -> str:
        """Why so many ranks, which are whole copies of the model, cannot be grouped."""

    def fixed(self, terms: SizingProblem, /) -> str:
        """Why the job's size cannot change once it has trained."""

    def owned(self, config: Mapping[str, Any], /) -> Sequence[str]:
        """The keys of its own configuration that follow from other fields of the spec."""

    # Memory, in bytes. None is not known.
    memory_percent: int
    """How far off ``estimate`` may be on a CPU; on GPUs nobody has measured it."""

    def estimate(
        self, terms: SizingProblem, data: int, micro: int, accumulation: int, /
    ) -> int | None:
        """What a rank is expected to need."""

    def lacking(self, terms: SizingProblem, data: int, /) -> int | None:
        """What a rank cannot do without, if that is more than it may use."""

    def comfortable(
        self, terms: SizingProblem, data: int, micro: int, accumulation: int, /
    ) -> bool:
        """Whether this micro batch fits, even if the estimate is as wrong as it was ever measured to be."""

    # Pace
    pace_percent: int
    """How far off a step may be on an accelerator that nobody measured."""

    def step(
        self, terms: SizingProblem, data: int, micro: int, accumulation: int, on: Machine, /
    ) -> StepTime | None:
        """Where the seconds of a step go; None where the model is not known."""

    # Command
    preparer: Tool
    """Prepares the data, once."""

    def command(self, spec: TrainingJobSpec, /) -> list[str]:
        """What a worker's container runs."""

    def of_ranks(self, spec: TrainingJobSpec, /) -> Mapping[str, str]:
        """What its environment says of the ranks."""

    # Converts
    converter: Tool
    """Makes a checkpoint loadable for another number of ranks."""

    def converts(self, spec: TrainingJobSpec, /) -> bool:
        """Whether a checkpoint fits only the number of ranks that wrote it."""

    def conversion_memory(self, size: int, ranks: int, /) -> int:
        """What the converter needs for a checkpoint of so many bytes, by so many ranks."""
