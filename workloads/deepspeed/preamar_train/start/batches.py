"""Which tokens a rank sees in a step: those of its copy of the model.

They are read ahead in a thread, and how long the loop waited for them is counted. With
PREAMAR_TRACE=<folder> one rank of each copy also writes, per micro-batch, the numbers of its
samples and a hash of their tokens: the proof that a resumed run saw what an unbroken one would.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from preamar_train.data.corpus import Corpus
from preamar_train.data.order import SampleOrder, of_rank
from preamar_train.data.read_ahead import ReadAhead
from preamar_train.parallel.layout import Layout
from preamar_train.request import TrainRequest

AHEAD_BYTES = 64 * 2**20
LEAST_AHEAD, MOST_AHEAD = 2, 32


class Micro(NamedTuple):
    """One micro-batch: the numbers of its samples, and their tokens [micro, sequence + 1]."""

    step: int
    samples: range
    rows: np.ndarray


class Batches:
    """`ahead` is how many micro-batches are read in advance; as many as 64 MiB hold, if None."""

    def __init__(
        self, request: TrainRequest, corpus: Corpus, layout: Layout, ahead: int | None = None
    ) -> None:
        weights = {source.name: source.weight for source in request.sources}
        self._order = SampleOrder(request.shuffle_seed, weights, corpus.sizes())
        self._request, self._corpus, self._layout = request, corpus, layout
        size = request.micro_batch * (corpus.sequence + 1) * 8
        self._depth = ahead or max(LEAST_AHEAD, min(MOST_AHEAD, AHEAD_BYTES // size))
        self._reader: ReadAhead[Micro] | None = None
        self._next = -1
        self.taken: list[range] = []  # in the step that goes on, or was the last
        folder = os.environ.get("PREAMAR_TRACE")
        traced = folder and layout.reads
        self._trace = Path(folder, f"rank-{layout.replica}.jsonl") if traced else None

    def of_step(self, step: int) -> Iterator[np.ndarray]:
        """The micro-batches [micro, sequence + 1] of the step after `step` finished ones."""
        if self._reader is None or self._next != step:
            self.close()
            self._reader = ReadAhead(lambda: self._from(step), self._depth)
        self._next = step + 1
        self.taken = []
        for _ in range(self._request.accumulation):
            micro = self._reader.next()
            self.taken.append(micro.samples)
            self._write(micro)
            yield micro.rows

    def waited(self) -> float:
        """Seconds that this rank waited for data since it was last asked."""
        if self._reader is None:
            return 0.0
        seconds, self._reader.waited = self._reader.waited, 0.0
        return seconds

    def close(self) -> None:
        """Reads no further ahead."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _from(self, first: int) -> Iterator[Micro]:
        request, layout = self._request, self._layout
        for step in range(first, request.steps):
            for turn in range(request.accumulation):
                samples = of_rank(
                    step,
                    turn,
                    layout.replica,
                    world_size=layout.data,
                    micro=request.micro_batch,
                    accumulation=request.accumulation,
                )
                picks = [self._order[index] for index in samples]
                rows = [self._corpus.sample(each.source, each.sample) for each in picks]
                yield Micro(step, samples, np.stack(rows))

    def _write(self, micro: Micro) -> None:
        if self._trace:
            words = {
                "step": micro.step + 1,
                "samples": list(micro.samples),
                "hashes": [hashlib.sha256(row.tobytes()).hexdigest()[:16] for row in micro.rows],
            }
            with self._trace.open("a") as stream:
                stream.write(json.dumps(words) + "\n")
