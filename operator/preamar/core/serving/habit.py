"""Is it cheaper to follow this load, or to stand still?

Bursts that are over before a replica has started cannot be followed: replicas come when the work is
gone. So the last half-hour is replayed twice: once followed, as ``sizing`` would have, and once for
each constant size. The constant wins only if it would have been cheaper, late requests included;
and it binds only while what arrives is no more than what it was tried on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from preamar.core.serving.queueing import late_starts
from preamar.core.serving.sizing import PRICE, Goal, Standing, cheapest

MEMORY = 1800
"""Seconds looked back upon at most."""
LEAST_MEMORY = 300
"""Seconds below which nothing is a habit yet."""
STRIDE = 10
"""Seconds between decisions of the replay."""
CLEARLY = 0.6


@dataclass(frozen=True, slots=True)
class Habit:
    """A constant size that was cheapest; ``crest``: the most that arrived within a cold start."""

    size: int
    crest: int

    def holds(self, arrivals: Sequence[int], goal: Goal) -> bool:
        """Whether what arrives now is nothing new."""
        span = max(1, ceil(goal.cold_start))
        return sum(arrivals[-span:]) <= self.crest


def habit(goal: Goal, arrivals: Sequence[int], most: int) -> Habit | None:
    """The constant size to keep, or None if following is cheaper or too little is known."""
    seen = arrivals[-MEMORY:]
    if len(seen) < LEAST_MEMORY or not any(seen):
        return None
    wait, best, least = int(goal.wait), 0, float("inf")
    for size in range(1, most + 1):
        late = late_starts((), 0.0, seen, [size * goal.rate] * len(seen), wait)
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
    return Habit(best, highest)


def followed(goal: Goal, seen: Sequence[int], most: int, *, begin: int, stop_at: float) -> float:
    """The cost of following ``seen``; replayed only until it has passed ``stop_at``."""
    ahead = max(1, ceil(goal.cold_start))
    wait = int(goal.wait)
    size = ready = begin
    starting: list[int] = []
    line: list[list[float]] = []  # [second of arrival, how many], oldest first
    cost = waiting = 0.0
    low_since, low_most = -1, 0
    for second, came in enumerate(seen):
        while starting and starting[0] <= second:
            starting.pop(0)
            ready += 1
        if came:
            line.append([second, came])
            waiting += came
        can = ready * goal.rate
        while can > 0 and line:
            since, count = line[0]
            served = min(can, count)
            can -= served
            waiting -= served
            if second - since > wait:
                cost += PRICE * served
            if served == count:
                line.pop(0)
            else:
                line[0][1] = count - served
        cost += ready + len(starting)
        if second % STRIDE or second < 2:
            continue
        if cost > stop_at:
            return cost
        etas = tuple(float(due - second) for due in starting)
        standing = Standing(size, ready, etas, int(waiting))
        wanted = cheapest(goal, standing, seen[max(0, second - 3 * ahead - 60) : second + 1], most)
        if wanted >= size:
            low_since = -1
            starting += [second + ahead] * (wanted - size)
        else:
            if low_since < 0:
                low_since, low_most = second, wanted
            low_most = max(low_most, wanted)
            if second - low_since < ahead:
                continue
            wanted, low_since = low_most, -1
            while ready + len(starting) > wanted and starting:
                starting.pop()
            ready = min(ready, wanted)
        size = wanted
    return cost
