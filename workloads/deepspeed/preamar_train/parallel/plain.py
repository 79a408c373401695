"""A model whose layers all lie on each rank, whole or in slices: DeepSpeed's plain engine."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from preamar_train.parallel.layout import Layout


class Plain:
    """One optimiser step, or the judgement of rows, on the ranks of this copy of the model."""

    def __init__(self, engine: Any, layout: Layout, device: torch.device, micro: int) -> None:
        self.engine, self._layout = engine, layout
        self._device, self._micro = device, micro

    def train(self, batches: Iterable[np.ndarray]) -> float:
        """The sum of the losses of this copy's samples, on the rank that judges; else 0."""
        total = 0.0
        for rows in batches:
            batch = torch.from_numpy(rows).to(self._device)
            losses, objective = both(self.engine(batch[:, :-1], batch[:, 1:]))
            self.engine.backward(objective.mean())
            self.engine.step()
            total += float(losses.detach().double().sum())
        return total if self._layout.judges else 0.0

    def judge(self, rows: np.ndarray, micro: int | None = None) -> tuple[float, int]:
        """Sum and number of the losses of this copy's share of all rows [n, sequence + 1], on the
        rank that judges; else zeros. `micro` rows at once, if not as many as in training.

        Copies take turns in lockstep, since ZeRO 3 gathers weights in every forward; who has no
        row left computes one that does not count.
        """
        self.engine.eval()
        total, counted, micro = 0.0, 0, micro or self._micro
        with torch.no_grad():
            for start in range(0, len(rows), micro * self._layout.data):
                first = start + self._layout.replica * micro
                mine = rows[first : first + micro]
                batch = torch.from_numpy(mine if len(mine) else rows[:1]).to(self._device)
                losses, _ = both(self.engine(batch[:, :-1], batch[:, 1:]))
                if len(mine):
                    total += float(losses.double().sum())
                    counted += len(mine)
        self.engine.train()
        return (total, counted) if self._layout.judges else (0.0, 0)

    def gradient_norm(self) -> float:
        return norm_of(self.engine)


def both(out: Tensor | tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The losses that are told, and what is to become small: a model may add something of its own
    that is no surprise at a token, such as how unevenly its experts are used."""
    return out if isinstance(out, tuple) else (out, out)


def norm_of(engine: Any) -> float:
    """The norm of the last step's gradient; 0 where it is not known."""
    if engine.fp16_enabled():  # its loss scaling overflows on purpose, and skips such a step
        return 0.0
    norm = engine.get_global_grad_norm()
    return 0.0 if norm is None else float(norm)
