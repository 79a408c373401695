"""Where does a rank stand?

Ranks = pipeline x data x tensor; ranks that share a layer are neighbours, so that they lie in one
pod, and stages are farthest apart. Ranks that share experts are neighbouring data-parallel ranks
of one stage. DeepSpeed's PipeModelDataParallelTopology counts alike.
"""

from dataclasses import dataclass
from typing import Self

from preamar_train.request import TrainRequest


@dataclass(frozen=True, slots=True)
class Layout:
    """One rank's place among all."""

    rank: int
    size: int
    tensor: int = 1
    pipeline: int = 1
    expert: int = 1

    @classmethod
    def of(cls, request: TrainRequest, rank: int, size: int) -> Self:
        return cls(rank, size, request.tensor, request.pipeline, request.expert)

    @property
    def data(self) -> int:
        """Copies of the model: each takes its own samples."""
        return self.size // (self.tensor * self.pipeline)

    @property
    def replica(self) -> int:
        """Which copy of the model this rank belongs to; all its ranks see the same samples."""
        return self.rank // self.tensor % self.data

    @property
    def stage(self) -> int:
        """Which part of the layers."""
        return self.rank // (self.tensor * self.data)

    @property
    def slice(self) -> int:
        """Which part of each layer."""
        return self.rank % self.tensor

    @property
    def experts(self) -> int:
        """Which part of the experts."""
        return self.replica % self.expert

    @property
    def reads(self) -> bool:
        """Whether this rank stands for its copy where samples come in."""
        return self.stage == 0 and self.slice == 0

    @property
    def judges(self) -> bool:
        """Whether this rank stands for its copy where the loss comes out."""
        return self.stage == self.pipeline - 1 and self.slice == 0

    def at(self, stage: int = 0, replica: int = 0, slice_: int = 0) -> int:
        """The rank at a place."""
        return (stage * self.data + replica) * self.tensor + slice_

    def words(self) -> str:
        """How it differs from copies alone, for logs; empty if it does not."""
        kinds = {"tensor": self.tensor, "pipeline": self.pipeline, "expert": self.expert}
        split = [f"{kind} {n}" for kind, n in kinds.items() if n > 1]
        return f" ({', '.join(split)})" if split else ""
