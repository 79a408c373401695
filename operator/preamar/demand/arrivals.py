"""How many requests arrived in each second? Over all gateways, for at most half an hour.

A history is as long as every second in it is wholly known: whatever a gateway took with it when it
died ends it. A service without arrivals costs nothing, a busy one two bytes a second.
"""

from array import array
from collections.abc import Iterator
from math import ceil, floor

LONGEST_SECONDS = 1800
SLACK_SECONDS = 256
MOST_HISTORIES = 10_000
MOST_A_SECOND = 2**16 - 1


class Arrivals:
    """Counts by service and second. Seconds are whole numbers of any clock that goes forward."""

    def __init__(self) -> None:
        self._counts: dict[str, _Counts] = {}
        self._known_from = 0
        self._full_until = 0

    def unknown_until(self, moment: float) -> None:
        """Something of what arrived before ``moment`` will never be known."""
        self._known_from = max(self._known_from, ceil(moment))

    def add(self, service: str, count: int, since: float, until: float) -> None:
        """``count`` requests arrived between two moments; they are spread over the time."""
        counts = self._counts.get(service)
        if counts is None:
            if len(self._counts) >= MOST_HISTORIES:
                self._full_until = floor(until) + LONGEST_SECONDS
                return
            counts = self._counts[service] = _Counts(floor(since))
        for second, share in spread(count, since, until):
            counts.add(second, share)

    def told(self, service: str, until: float) -> tuple[int, ...]:
        """Of each whole second before ``until``, oldest first; empty where none is known."""
        end = floor(until)
        begin = max(self._known_from, end - LONGEST_SECONDS)
        if begin >= end:
            return ()
        counts = self._counts.get(service)
        if counts is None:
            return () if begin < self._full_until else (0,) * (end - begin)
        return counts.between(begin, end)

    def prune(self, now: float) -> None:
        """Forget services that nobody has asked for half an hour."""
        oldest = floor(now) - LONGEST_SECONDS
        self._counts = {name: one for name, one in self._counts.items() if one.end > oldest}

    @property
    def bytes(self) -> int:
        """What the counts take."""
        return sum(one.bytes for one in self._counts.values())


class _Counts:
    """Of one service: sixteen bits a second from ``first`` on."""

    __slots__ = ("_counts", "first")

    def __init__(self, first: int) -> None:
        self.first = first
        self._counts = array("H")

    @property
    def end(self) -> int:
        return self.first + len(self._counts)

    @property
    def bytes(self) -> int:
        return len(self._counts) * self._counts.itemsize

    def add(self, second: int, count: int) -> None:
        if second < self.first:
            # Another gateway was heard later and tells of a time before.
            self._counts[0:0] = array("H", bytes(2 * (self.first - second)))
            self.first = second
        if second >= self.end:
            self._counts.frombytes(bytes(2 * (second + 1 - self.end)))
        at = second - self.first
        self._counts[at] = min(MOST_A_SECOND, self._counts[at] + count)
        if len(self._counts) > LONGEST_SECONDS + SLACK_SECONDS:
            gone = len(self._counts) - LONGEST_SECONDS
            del self._counts[:gone]
            self.first += gone

    def between(self, begin: int, end: int) -> tuple[int, ...]:
        known = tuple(self._counts[max(begin - self.first, 0) : max(end - self.first, 0)])
        before = max(0, min(self.first, end) - begin)
        return (0,) * before + known + (0,) * (end - begin - before - len(known))


def spread(count: int, since: float, until: float) -> Iterator[tuple[int, int]]:
    """Whole shares of each second between two moments, by how much of it lies between them."""
    given = 0
    for second in range(floor(since), floor(until) + 1):
        part = (min(second + 1, until) - since) / (until - since) if until > since else 1.0
        share = round(count * part) - given
        given += share
        if share:
            yield second, share
