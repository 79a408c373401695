"""Has the model learned more than how often each token occurs?

Mean negative log-likelihood per token on held-out text, by the model and by a unigram model
(add-one smoothed counts of the training text) on exactly the same target tokens, in nats.
"""

from typing import Any

import numpy as np

from preamar_train.data.corpus import Corpus
from preamar_train.ranks.gang import RankGroup

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


def held_out_loss(model: Any, gang: RankGroup, rows: np.ndarray, micro: int | None = None) -> float:
    """The model's loss on all rows [n, sequence + 1], which its copies share."""
    total, counted = gang.add(*model.judge(rows, micro))
    return total / counted
