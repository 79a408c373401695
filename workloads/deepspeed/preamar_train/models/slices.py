"""The ranks that share each layer, and what they tell each other while they compute it.

Megatron's scheme (arXiv:1909.08053, section 3): the first of two matrices is cut by its outputs,
the second by its inputs, so that a pair of layers needs one sum forward and one backward.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class _Enter(torch.autograd.Function):
    """The same tensor on all slices; its gradient is the sum of theirs."""

    @staticmethod
    def forward(context: Any, x: Tensor, slices: "Slices") -> Tensor:
        context.slices = slices
        return x.view_as(x)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return context.slices.total(gradient), None


class _Sum(torch.autograd.Function):
    """The sum over all slices; each has the whole gradient."""

    @staticmethod
    def forward(_: Any, x: Tensor, slices: "Slices") -> Tensor:
        return slices.total(x)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


@dataclass(frozen=True, slots=True)
class Slices:
    """`count` ranks share each layer; this one is number `index`. `group` is torch's."""

    index: int = 0
    count: int = 1
    group: Any = None

    def enter(self, x: Tensor) -> Tensor:
        """Before a matrix that is cut by its outputs."""
        return _Enter.apply(x, self) if self.count > 1 else x

    def sum(self, x: Tensor) -> Tensor:
        """After a matrix that is cut by its inputs."""
        return _Sum.apply(x, self) if self.count > 1 else x

    def total(self, x: Tensor) -> Tensor:
        """The sum of what the slices have, in a tensor of its own."""
        total = x.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=self.group)
        return total

    def most(self, x: Tensor) -> Tensor:
        """The greatest of what the slices have; without a gradient."""
        x = x.detach().clone()
        if self.count > 1:
            dist.all_reduce(x, op=dist.ReduceOp.MAX, group=self.group)
        return x


WHOLE = Slices()
