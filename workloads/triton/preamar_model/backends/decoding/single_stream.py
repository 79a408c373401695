"""How do streams take turns where the graph runs one row at a time? Each gets a call of its own, one
token a turn. For graphs that cannot tell rows of different lengths apart, or whose arithmetic
would let one stream change what another says.
"""

from collections.abc import Iterator

import numpy as np

from preamar_model.backends.decoding.decoder import Cache, DecoderGraph
from preamar_model.backends.decoding.sequence import TokenSequence

Told = tuple[TokenSequence, np.ndarray | Exception]
"""The logits [vocabulary] for a stream's next token, or why there are none."""


class SingleStream:
    def __init__(self, decoder: DecoderGraph) -> None:
        self.decoder = decoder
        self.caches: dict[TokenSequence, Cache] = {}

    def open(self, story: TokenSequence) -> None:
        self.caches[story] = self.decoder.empty

    def close(self, story: TokenSequence) -> None:
        self.caches.pop(story, None)

    def turn(self) -> Iterator[Told]:
        """A token for each stream. Streams may be closed while it runs."""
        for story in list(self.caches):
            if story not in self.caches:
                continue
            try:
                logits, cache = self.decoder.read(story.pending, story.length, self.caches[story])
            except Exception as error:  # noqa: BLE001 - its caller hears it; the others go on
                yield story, error
                continue
            self.caches[story] = cache
            story.was_read(len(story.pending))
            yield story, logits
