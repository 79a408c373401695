"""May rows of different lengths share a call of this graph? Tried when the model is loaded: a short row
beside a long one, its padding full of noise, must get the logits that it gets alone.
"""

import numpy as np

from preamar_model.backends.decoding.decoder import DecoderGraph

LENGTHS = (9, 3)
NOISE = 10.0
NEAR = 0.05
"""Of the range of the middle half of the logits; some graphs forbid a token by a huge one. Kernels for
one row and for several round differently, but less than this."""


def together(decoder: DecoderGraph) -> bool:
    """False also where the graph refuses the call."""
    if not {"attention_mask", "position_ids"} <= decoder.inputs:
        return False
    try:
        return _same(decoder)
    except Exception:  # noqa: BLE001 - a graph that cannot do it runs row by row, as all once did
        return False


def _same(decoder: DecoderGraph) -> bool:
    chance = np.random.default_rng(6)
    count = decoder.vocabulary.tokenizer.get_vocab_size()
    longest = min(max(LENGTHS), decoder.context - 1)
    rows = [chance.integers(0, count, min(n, longest)) for n in LENGTHS]
    alone, caches = [], []
    for row in rows:
        _, cache = decoder.read(list(row[:-1]), 0, decoder.empty)
        alone.append(decoder.read([row[-1]], len(row) - 1, cache)[0])
        caches.append(cache)
    width = longest - 1
    both = {}
    for name, like in decoder.empty.items():
        _, heads, _, size = like.shape
        noise = NOISE * chance.standard_normal((len(rows), heads, width, size))
        both[name] = noise.astype(like.dtype)
        for at, row in enumerate(rows):
            both[name][at, :, width - len(row) + 1 :] = decoder.array(caches[at][name])[0]
    lengths = np.array([[len(row) - 1] for row in rows], np.int64)
    mask = (np.arange(width + 1) >= width - lengths).astype(np.int64)
    ids = np.array([[row[-1]] for row in rows], np.int64)
    logits, _ = decoder.call(ids, lengths, mask, both)
    scale = np.subtract(*np.percentile(np.stack(alone), (75, 25)))
    return bool(np.abs(logits[:, -1] - np.stack(alone)).max() <= NEAR * scale)
