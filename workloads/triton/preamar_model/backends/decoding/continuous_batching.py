"""How do many streams get their next token from one call of the graph?

Their caches stand in one array, padded on the left, and a mask says what is padding. Between two
calls at most CHUNK tokens of new prompts are read, so that a long prompt holds nobody up. A
stream that comes or leaves changes the rows at the next turn, one copy for all changes.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from preamar_model.backends.decoding.decoder import Cache, DecoderGraph
from preamar_model.backends.decoding.sequence import TokenSequence
from preamar_model.backends.decoding.single_stream import Told

CHUNK = 32
"""Tokens of prompts between two tokens of those who speak. On a CPU a call reads so many in a few
times the seconds that it needs for one."""
LONG = 256
"""The same while nobody speaks; a caller who leaves is noticed after it."""
SLACK = 256
"""Lengths that differ by less always share a call; others where the shorter is half the longer or
more. So a short stream beside a long one does not pay for the long one's length."""


@dataclass(slots=True)
class RunningBatch:
    """Streams whose caches are rows of one array, the longest as wide as the array."""

    stories: list[TokenSequence]
    cache: Cache

    @property
    def width(self) -> int:
        return max(story.length for story in self.stories)


class ContinuousBatching:
    def __init__(self, decoder: DecoderGraph) -> None:
        self.decoder = decoder
        self.groups: list[RunningBatch] = []
        self.reading: deque[tuple[TokenSequence, Cache]] = deque()
        self.fresh: list[RunningBatch] = []
        """Streams whose prompt has been read, one each; they join the others at the next turn."""
        self.gone: set[TokenSequence] = set()

    def open(self, story: TokenSequence) -> None:
        self.reading.append((story, self.decoder.empty))

    def close(self, story: TokenSequence) -> None:
        kept = deque(each for each in self.reading if each[0] is not story)
        if len(kept) == len(self.reading):
            self.gone.add(story)
        self.reading = kept

    def turn(self) -> Iterator[Told]:
        """A token for each stream whose prompt has been read, and a piece of the prompts of others.
        Streams may be closed while it runs."""
        self._settle()
        for group in list(self.groups):
            yield from self._step(group)
        yield from self._prompts()

    def _step(self, group: RunningBatch) -> Iterator[Told]:
        stories, width = group.stories, group.width
        lengths = np.array([story.length for story in stories], np.int64)[:, None]
        ids = np.array([story.pending for story in stories], np.int64)
        mask = (np.arange(width + 1) >= width - lengths).astype(np.int64)
        try:
            logits, group.cache = self.decoder.call(ids, lengths, mask, group.cache)
        except Exception as error:  # noqa: BLE001 - whoever is at fault hears it; the others go on
            if len(stories) == 1:
                yield stories[0], error
                return
            parts = [self._gathered([(group, at)]) for at in range(len(stories))]
            self.groups = [each for each in self.groups if each is not group] + parts
            for part in parts:
                yield from self._step(part)
            return
        for story in stories:
            story.was_read(1)
        yield from zip(stories, logits[:, -1], strict=True)

    def _prompts(self) -> Iterator[Told]:
        left = CHUNK if self.groups else LONG
        while left > 0 and self.reading:
            story, cache = self.reading.popleft()
            part = story.pending[:left]
            left -= len(part)
            try:
                logits, cache = self.decoder.read(part, story.length, cache)
            except Exception as error:  # noqa: BLE001 - its caller hears it; the others go on
                yield story, error
                continue
            story.was_read(len(part))
            if story.pending:
                self.reading.append((story, cache))  # behind the others: short prompts overtake
                continue
            self.fresh.append(RunningBatch([story], cache))
            yield story, logits

    def _settle(self) -> None:
        """Rows for those who came, none for those who left."""
        if not self.fresh and not self.gone:
            return
        places = {
            story: (group, at)
            for group in (*self.groups, *self.fresh)
            for at, story in enumerate(group.stories)
            if story not in self.gone
        }
        before = {frozenset(group.stories): group for group in (*self.groups, *self.fresh)}
        self.fresh, self.gone = [], set()
        self.groups = [
            before.get(frozenset(part)) or self._gathered([places[story] for story in part])
            for part in parts(list(places))
        ]

    def _gathered(self, rows: Sequence[tuple[RunningBatch, int]]) -> RunningBatch:
        stories = [group.stories[at] for group, at in rows]
        width, cache = max(story.length for story in stories), {}
        for name, like in self.decoder.empty.items():
            _, heads, _, size = like.shape
            whole = np.zeros((len(rows), heads, width, size), like.dtype)
            held: dict[int, np.ndarray] = {}
            for row, ((group, at), story) in enumerate(zip(rows, stories, strict=True)):
                if id(group) not in held:
                    held[id(group)] = self.decoder.array(group.cache[name])
                whole[row, :, width - story.length :] = held[id(group)][at, :, -story.length :]
            cache[name] = whole
        return RunningBatch(stories, cache)


def parts(stories: Sequence[TokenSequence]) -> list[list[TokenSequence]]:
    """Which streams share a call: longest first, as `SLACK` says."""
    found: list[list[TokenSequence]] = []
    for story in sorted(stories, key=lambda each: each.length, reverse=True):
        longest = found[-1][0].length if found else 0
        if found and longest - story.length <= max(SLACK, longest // 2):
            found[-1].append(story)
        else:
            found.append([story])
    return found
