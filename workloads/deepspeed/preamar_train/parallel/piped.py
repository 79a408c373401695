"""A model whose layers are dealt out to stages: DeepSpeed's pipeline engine.

It takes the micro-batches of a whole step at once and calls back for the loss on the last stage;
there the losses are noted, since the engine itself only tells a mean in single precision.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from preamar_train.models.loss import losses_of
from preamar_train.models.slices import Slices
from preamar_train.parallel.layout import Layout
from preamar_train.parallel.plain import norm_of


class Noted:
    """The loss of the last stage; `rows` holds those of each micro-batch since `clear`."""

    def __init__(self, slices: Slices) -> None:
        self._slices = slices
        self.rows: list[Tensor] = []

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        losses = losses_of(logits, targets, self._slices)
        self.rows.append(losses.detach().double())
        return losses.mean()

    def taken(self) -> Tensor:
        """All losses noted so far [rows], which are forgotten."""
        rows, self.rows = self.rows, []
        return torch.cat(rows) if rows else torch.zeros(0, dtype=torch.float64)


class Piped:
    """As `plain.Plain`."""

    def __init__(self, engine: Any, layout: Layout, noted: Noted, micro: int) -> None:
        self.engine, self._layout = engine, layout
        self._noted, self._micro = noted, micro

    def train(self, batches: Iterable[np.ndarray]) -> float:
        """The sum of the losses of this copy's samples, on the rank that judges; else 0."""
        self.engine.train_batch(_pairs(batches))
        losses = self._noted.taken()
        return float(losses.sum()) if self._layout.judges else 0.0

    def judge(self, rows: np.ndarray, micro: int | None = None) -> tuple[float, int]:
        """As `plain.Plain`. Rows that fill up the last micro-batches do not count."""
        micro, data = micro or self._micro, self._layout.data
        turns = -(-len(rows) // (micro * data))
        places = np.arange(turns * micro * data).reshape(turns, data, micro)[
            :, self._layout.replica
        ]
        mine = [rows[np.where(each < len(rows), each, 0)] for each in places]
        self.engine.reset_activation_shape()  # buffers have the size of the last micro-batch
        self.engine.eval_batch(
            _pairs(mine), reduce_output=None, bcast_loss=False, num_micro_batches=turns
        )
        self.engine.reset_activation_shape()
        losses = self._noted.taken()
        self.engine.module.train()
        if not self._layout.judges:
            return 0.0, 0
        counts = torch.from_numpy(places.reshape(-1) < len(rows)).to(losses.device)
        return float(losses[counts].sum()), int(counts.sum())

    def gradient_norm(self) -> float:
        return norm_of(self.engine)


def _pairs(batches: Iterable[np.ndarray]) -> Iterator[tuple[Tensor, Tensor]]:
    for rows in batches:
        batch = torch.from_numpy(rows)
        yield batch[:, :-1], batch[:, 1:]
