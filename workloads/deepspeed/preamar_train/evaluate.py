"""Has the model learned more than how often each token occurs?

Mean negative log-likelihood per token on held-out text, by the model and by a unigram model
(add-one smoothed counts of the training text) on exactly the same target tokens, in nats.
"""

from typing import Any

import numpy as np
import torch

from preamar_train.data.corpus import Corpus
from preamar_train.gang import Gang

MOST_SAMPLES = 512
PART_TOKENS, COUNTED_PARTS = 2**22, 64


def unigram(corpus: Corpus, targets: np.ndarray, vocabulary: int) -> float:
    """Loss of the unigram model on these target tokens."""
    counts = np.ones(vocabulary, dtype=np.float64)
    for source in corpus.sources:
        # At most 256 Mi tokens of a source, spread evenly: more would take hours and change nothing.
        stride = max(1, -(-len(source.train) // (COUNTED_PARTS * PART_TOKENS)))
        for start in range(0, len(source.train), stride * PART_TOKENS):
            part = np.asarray(source.train[start : start + PART_TOKENS], dtype=np.int64)
            counts += np.bincount(part, minlength=vocabulary)
    logs = np.log(counts / counts.sum())
    return float(-logs[targets].mean())


def held_out_loss(
    engine: Any, gang: Gang, rows: np.ndarray, micro: int, device: torch.device
) -> float:
    """The model's loss on all rows [n, sequence + 1].

    Ranks take turns in lockstep, since ZeRO 3 gathers weights in every forward; who has no row
    left computes one that does not count.
    """
    engine.eval()
    total = counted = 0.0
    with torch.no_grad():
        for start in range(0, len(rows), micro * gang.size):
            mine = rows[start + gang.rank * micro : start + (gang.rank + 1) * micro]
            batch = torch.from_numpy(mine if len(mine) else rows[:1]).to(device)
            losses = engine(batch[:, :-1], batch[:, 1:]).double()
            if len(mine):
                total += float(losses.sum())
                counted += len(mine)
    engine.train()
    total, counted = gang.add(total, counted)
    return total / counted
