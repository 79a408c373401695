"""How a model's weights begin.

Each is drawn from its own name and the seed, and cut afterwards, so that a model begins with the
same weights however it is split. `called` is a weight's name in Hugging Face's layout, by which
all ranks speak of it; `cut` is the dimension along which the ranks of a layer share it.
"""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from preamar_train.models.slices import WHOLE, Slices

INIT_STD = 0.02


@dataclass(frozen=True, slots=True)
class Drawn:
    """Makes the weights of one rank's share of a model."""

    seed: int = 0
    slices: Slices = WHOLE

    def normal(self, name: str, *size: int, cut: int | None = None) -> nn.Parameter:
        """A weight of this whole size, normally distributed."""
        words = hashlib.sha256(f"{self.seed} {name}".encode()).digest()
        chance = torch.Generator().manual_seed(int.from_bytes(words[:7], "little"))
        return self._made(name, torch.normal(0.0, INIT_STD, size, generator=chance), cut)

    def ones(self, name: str, size: int) -> nn.Parameter:
        return self._made(name, torch.ones(size), None)

    def _made(self, name: str, whole: Tensor, cut: int | None) -> nn.Parameter:
        if cut is not None:
            whole = whole.chunk(self.slices.count, dim=cut)[self.slices.index]
        weight = torch.empty(whole.shape)  # ZeRO 3 chooses its type and place
        weight.copy_(whole)
        made = nn.Parameter(weight)
        made.called, made.cut = name, cut
        # DeepSpeed's norm of the gradient adds up what is marked, over all slices and stages.
        made.model_parallel = cut is not None or self.slices.index == 0
        return made
