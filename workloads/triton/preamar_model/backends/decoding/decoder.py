"""How is a decoder's graph called? With the new tokens of some rows and the cache of what those rows have
read; back come logits and the longer cache.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from preamar_model.backends.decoding.detokenise import Vocabulary

Cache = Mapping[str, object]
"""Keys and values [B, heads, P, width] by the graph's names, wherever the runtime keeps them."""


@dataclass(frozen=True, slots=True)
class DecoderGraph:
    """What all streams of a model share."""

    run: Callable[[Mapping[str, object], list[str]], dict[str, object]]
    array: Callable[[object], np.ndarray]
    inputs: frozenset[str]
    empty: Mapping[str, np.ndarray]
    """The cache of one row before the first token."""
    vocabulary: Vocabulary
    context: int
    ends: frozenset[int]
    start: int | None
    routers: tuple[str, ...] = ()
    """Outputs that tell which experts each token took, one for each layer that has experts."""
    routed: Callable[[Sequence[np.ndarray]], None] = lambda _: None
    """Hears of them after each call."""

    def call(
        self, ids: np.ndarray, places: np.ndarray, mask: np.ndarray, cache: Cache
    ) -> tuple[np.ndarray, Cache]:
        """``ids`` and ``places`` are int64 [B, T], ``mask`` int64 [B, P + T]; the logits are
        [B, T, vocabulary]."""
        known = {"input_ids": ids, "position_ids": places, "attention_mask": mask}
        feed = {name: value for name, value in known.items() if name in self.inputs}
        grown = {name: name.replace("past_key_values", "present", 1) for name in cache}
        given = self.run(feed | dict(cache), ["logits", *grown.values(), *self.routers])
        if self.routers:
            self.routed([self.array(given[name]) for name in self.routers])
        return self.array(given["logits"]), {name: given[out] for name, out in grown.items()}

    def read(self, tokens: Sequence[int], length: int, cache: Cache) -> tuple[np.ndarray, Cache]:
        """The same for tokens of one row that has read ``length`` before; the last one's logits
        [vocabulary]."""
        total = length + len(tokens)
        places = np.arange(length, total, dtype=np.int64)[None]
        mask = np.ones((1, total), np.int64)
        logits, cache = self.call(np.array([tokens], np.int64), places, mask, cache)
        return logits[0, -1], cache
