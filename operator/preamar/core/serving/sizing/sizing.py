"""How many replicas keep the goal at the least cost, if the last minutes come again?

The present queue meets the arrivals of the last minutes once more. A size costs its replica-
seconds and the seconds in which additional replicas start; each request that then begins late costs
``PRICE`` replica-seconds. What cannot be kept any more (who waits too long already) does not ask
for replicas; what a queue can absorb within the goal does not either: so busy replicas with a short
line are right, and a fixed utilisation would be waste.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from preamar.core.serving.sizing.queueing import late_starts

PRICE = 15.0
"""Replica-seconds that one late request may cost. With it about 1 % are late on steady loads."""
PRESSURE = 0.2
"""Replica-seconds for each second that a request waits too long: who is late already still wants an
answer, and without it a queue that is beyond help would ask for nothing."""
WINDOW = 60
"""Seconds looked back upon at least: shorter ones are noise."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What is promised to callers, and what replicas can do. Seconds; ``slots``: requests that one
    replica runs at once; ``service``: how long one takes there."""

    wait: float
    service: float
    slots: float
    cold_start: float

    @property
    def rate(self) -> float:
        """Requests per second that one replica can begin."""
        return self.slots / max(self.service, 1e-3)


@dataclass(frozen=True, slots=True)
class Standing:
    """What there is now. ``starting``: seconds until each replica that starts is ready;
    ``ready`` and ``starting`` together may differ from ``size``, what was asked for."""

    size: int
    ready: int
    starting: tuple[float, ...]
    queued: int


def cheapest(goal: Goal, standing: Standing, arrivals: Sequence[float], most: int) -> int:
    """The size with the least cost, between 1 and ``most``. ``arrivals``: requests in each of the
    last seconds, oldest first; at least one second of them."""
    ahead = max(1, ceil(goal.cold_start))
    window = arrivals[-max(WINDOW, 2 * ahead) :]
    coming = _again(window, ahead)
    wait = int(goal.wait)
    present = [
        standing.ready + sum(1 for eta in standing.starting if eta <= second)
        for second in range(ahead)
    ]
    horizon = len(coming) - ahead

    def cost(size: int) -> float:
        if size >= standing.size:
            near = [have * goal.rate for have in present]
            starts = (size - standing.size) * ahead
        else:
            # Those that start go first, and are of no use before they are ready.
            gone = max(0, standing.size - size - len(standing.starting))
            near = [max(0, have - gone) * goal.rate for have in present]
            starts = 0
        serves = near + [size * goal.rate] * horizon
        late, overtime = late_starts(arrivals, standing.queued, coming, serves, wait)
        return starts + size * horizon + PRICE * late + PRESSURE * overtime

    size = min(max(standing.size, 1), most)
    best, price = size, cost(size)
    for more in range(size + 1, most + 1):
        dearer = cost(more)
        if dearer < price:
            best, price = more, dearer
        elif more > best + 2:
            break
    if best > size:
        return best
    for less in range(size - 1, 0, -1):
        cheaper = cost(less)
        if cheaper > price:
            break
        best, price = less, cheaper
    return best


def _again(window: Sequence[float], ahead: int) -> list[float]:
    """The last ``ahead`` seconds and then the whole window again; a short one several times."""
    whole = list(window)
    while len(whole) < ahead + 10:
        whole += whole
    return whole[-ahead:] + whole
