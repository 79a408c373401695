"""Is it cheaper to follow this load, or to stand still?

Bursts that are over before a replica has started cannot be followed: replicas come when the work is
gone. So the last half-hour is replayed twice: once followed, as ``sizing`` would have, and once for
each constant size. The constant wins only if it would have been cheaper, late requests included;
and it binds only while what arrives is no more than what it was tried on.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from preamar.core.serving.sizing.queueing import late_starts
from preamar.core.serving.sizing.sizing import PRICE, Goal, Standing, cheapest

EVERY_SECONDS = 60.0
"""Between two looks at whether there is a habit."""
MEMORY = 1800
"""Seconds looked back upon at most."""
LEAST_MEMORY = 300
"""Seconds below which nothing is a habit yet."""
STRIDE = 10
"""Seconds between decisions of the replay."""
CLEARLY = 0.6
"""Of the cost of following, at most: the replay starts late and decides seldom, so it looks dearer
than following is."""


@dataclass(frozen=True, slots=True)
class StaticSize:
    """A constant size that was cheapest; ``crest``: the most that arrived within a cold start;
    ``queue``: the most that waited while it stood."""

    size: int
    crest: int
    queue: int

    def holds(self, arrivals: Sequence[int], queued: int, goal: Goal) -> bool:
        """Whether what arrives, and what waits, is nothing new."""
        span = max(1, ceil(goal.cold_start))
        return sum(arrivals[-span:]) <= self.crest and queued <= self.queue


def habit(goal: Goal, arrivals: Sequence[int], most: int) -> StaticSize | None:
    """The constant size to keep, or None if following is cheaper or too little is known."""
    seen = arrivals[-MEMORY:]
    if len(seen) < LEAST_MEMORY or not any(seen):
        return None
    wait, best, least = int(goal.wait), 0, float("inf")
    for size in range(1, most + 1):
        late, _ = late_starts((), 0.0, seen, [size * goal.rate] * len(seen), wait)
        cost = size * len(seen) + PRICE * late
        if cost < least:
            best, least = size, cost
        if late <= 0:
            break
    if least >= CLEARLY * followed(goal, seen, most, begin=best, stop_at=least / CLEARLY):
        return None
    span = max(1, ceil(goal.cold_start))
    crest = sum(seen[:span])
    highest = crest
    for second in range(span, len(seen)):
        crest += seen[second] - seen[second - span]
        highest = max(highest, crest)
    waiting = longest = 0.0
    for came in seen:
        waiting = max(0.0, waiting + came - best * goal.rate)
        longest = max(longest, waiting)
    return StaticSize(best, highest, ceil(longest))


def followed(goal: Goal, seen: Sequence[int], most: int, *, begin: int, stop_at: float) -> float:
    """The cost of following ``seen``; replayed only until it has passed ``stop_at``."""
    replay = _Replay(goal, begin)
    span = 3 * replay.ahead + 60
    for second, came in enumerate(seen):
        replay.serve(second, came)
        if second % STRIDE or second < 2:
            continue
        if replay.cost > stop_at:
            break
        recent = seen[max(0, second - span) : second + 1]
        replay.resize(second, cheapest(goal, replay.standing(second), recent, most))
    return replay.cost


class _Replay:
    """Replicas and their queue, second by second."""

    def __init__(self, goal: Goal, begin: int) -> None:
        self.ahead = max(1, ceil(goal.cold_start))
        self.cost = 0.0
        self._goal = goal
        self._size = self._ready = begin
        self._starting: deque[int] = deque()
        self._line: deque[tuple[int, float]] = deque()
        self._low_since: int | None = None
        self._low_most = 0

    def standing(self, second: int) -> Standing:
        etas = tuple(float(due - second) for due in self._starting)
        waiting = sum(count for _, count in self._line)
        return Standing(self._size, self._ready, etas, int(waiting))

    def serve(self, second: int, came: int) -> None:
        """One second: replicas turn ready, requests arrive and begin, and all of it costs."""
        while self._starting and self._starting[0] <= second:
            self._starting.popleft()
            self._ready += 1
        if came:
            self._line.append((second, float(came)))
        can = self._ready * self._goal.rate
        while can > 0 and self._line:
            since, count = self._line.popleft()
            served = min(can, count)
            can -= served
            if second - since > self._goal.wait:
                self.cost += PRICE * served
            if served < count:
                self._line.appendleft((since, count - served))
        self.cost += self._ready + len(self._starting)

    def resize(self, second: int, wanted: int) -> None:
        """More at once; fewer when fewer were wanted for as long as a start takes."""
        if wanted >= self._size:
            self._low_since = None
            self._starting.extend([second + self.ahead] * (wanted - self._size))
            self._size = wanted
            return
        if self._low_since is None:
            self._low_since, self._low_most = second, wanted
        self._low_most = max(self._low_most, wanted)
        if second - self._low_since < self.ahead:
            return
        self._size, self._low_since = self._low_most, None
        while self._starting and self._ready + len(self._starting) > self._size:
            self._starting.pop()
        self._ready = min(self._ready, self._size)
