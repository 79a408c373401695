"""Which tokens a rank sees in a step.

With PREAMAR_TRACE=<folder> each rank also writes, per micro-batch, the numbers of its samples
and a hash of their tokens: the proof that a resumed run saw what an unbroken one would.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from preamar_train.data.corpus import Corpus
from preamar_train.data.order import Order, of_rank
from preamar_train.gang import Gang
from preamar_train.request import Request


class Batches:
    def __init__(self, request: Request, corpus: Corpus, gang: Gang) -> None:
        weights = {source.name: source.weight for source in request.sources}
        self._order = Order(request.shuffle_seed, weights, corpus.sizes())
        self._request, self._corpus, self._gang = request, corpus, gang
        folder = os.environ.get("PREAMAR_TRACE")
        self._trace = Path(folder, f"rank-{gang.rank}.jsonl") if folder else None

    def of_step(self, step: int) -> Iterator[np.ndarray]:
        """The micro-batches [micro, sequence + 1] of the step after `step` finished ones."""
        request, gang = self._request, self._gang
        for turn in range(request.accumulation):
            samples = of_rank(
                step,
                turn,
                gang.rank,
                world_size=gang.size,
                micro=request.micro_batch,
                accumulation=request.accumulation,
            )
            picks = [self._order[index] for index in samples]
            rows = np.stack([self._corpus.sample(each.source, each.sample) for each in picks])
            self._write(step, samples, rows)
            yield rows

    def _write(self, step: int, samples: range, rows: np.ndarray) -> None:
        if self._trace:
            words = {
                "step": step + 1,
                "samples": list(samples),
                "hashes": [hashlib.sha256(row.tobytes()).hexdigest()[:16] for row in rows],
            }
            with self._trace.open("a") as stream:
                stream.write(json.dumps(words) + "\n")
