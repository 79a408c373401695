"""What would the cheapest sizes be for one who knows every arrival beforehand?

A dynamic program over (replicas, waiting requests) in steps of a second or a little more, in which
a late request costs ``price`` replica-seconds. Serving is a fluid in it: ``slots / service``
requests begin per second and replica, first come, first served, so that the count of late starts
follows from the queue alone. The price is for the caller to choose.

Sources: the envelope (arrivals of any window begin within the window and the wait that the goal
allows) is the min-plus service curve of network calculus; switching costs as in Lin et al., Dynamic
right-sizing for power-proportional data centers, INFOCOM 2011.
"""

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from preamar.cli.simulate.engine import SizingRule, View, World
from preamar.cli.simulate.trace import LoadTrace

MOST_STEPS = 7300
MOST_BYTES = 250_000_000
"""Of the table of costs."""
CELLS = 192
"""Queue lengths told apart; between two of them cost is taken as straight."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TimeGrid:
    """Time cut into steps of ``width`` seconds: ``came[t]`` requests arrive in step ``t``, after
    ``before``, what arrived in the steps just before, oldest first. ``waiting`` of those wait at
    the beginning, when ``size`` replicas are paid for. At most ``limit[t]`` can be had in ``t``, and
    of these at most ``able[t]`` serve, as the others still start.
    """

    width: float
    came: Numbers
    before: Numbers
    waiting: float
    size: int
    limit: NDArray[np.int64]
    able: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Costs:
    """The program's parameters. Seconds; ``rate``: requests that a replica begins in a step;
    ``lag``: steps that a request may wait; ``start``: replica-seconds that one start costs;
    ``price``: replica-seconds that one late request costs."""

    rate: float
    lag: float
    start: float
    price: float
    least: int
    most: int


def costs(load: LoadTrace, world: World, width: float, price: float, wait: float) -> Costs:
    """The parameters for replicas like these, if a request may wait for ``wait`` seconds. A replica
    that is ordered away still finishes what it runs, half a request on average."""
    mean = load.mean_service
    # More replicas than would let nobody ever wait are of no use.
    at_once = np.searchsorted(load.arrivals, np.asarray(load.arrivals) + mean, side="right")
    peak = int((at_once - np.arange(len(load.arrivals))).max())
    most = max(world.min, 1, min(world.max, ceil(peak / world.slots)))
    return Costs(
        rate=world.slots * width / mean,
        lag=max(0.0, wait) / width,
        start=world.cold_start + mean / 2,
        price=price,
        least=world.min,
        most=most,
    )


def cut(load: LoadTrace, world: World) -> TimeGrid:
    """A whole load in steps of at least a second, and few enough for the memory."""
    fit = min(MOST_STEPS, MOST_BYTES / (4 * (CELLS + 2) * (world.max + 1)))
    width = float(max(1, ceil(load.seconds / fit)))
    # Beyond the last arrival, until whoever waits is answered or late.
    count = int((load.seconds + world.goal) / width) + 2
    came = np.bincount((np.asarray(load.arrivals) / width).astype(np.int64), minlength=count)
    limit = np.full(count, world.max)
    limit[: ceil(world.cold_start / width)] = world.min  # nothing ordered could be ready yet
    return TimeGrid(width, came.astype(np.float64), np.zeros(0), 0.0, world.min, limit, limit)


def sizes(
    steps: TimeGrid, cost: Costs, *, only_first: int | None = None, cells: int = CELLS
) -> NDArray[np.int64]:
    """Replicas to have in each step, the cheapest; of the first steps only, if told so."""
    count, most = len(steps.came), max(cost.most, steps.size)
    total = np.concatenate(([0.0], np.cumsum(np.concatenate((steps.before, steps.came)))))
    begin = len(steps.before)
    first = total[begin : begin + count]
    # Arrivals until ``lag`` steps before: who of them begins now is late.
    past = np.arange(begin, begin + count + 1) - cost.lag
    due = np.interp(past, np.arange(len(total)), total)
    window = ceil(cost.lag) + ceil(cost.start / steps.width) + 2
    ahead = np.minimum(np.arange(len(total)) + window, len(total) - 1)
    unit = max(1.0, (float((total[ahead] - total).max()) + steps.waiting) / cells)
    backlog = np.arange(cells + 1) * unit
    replicas = np.arange(most + 1)[:, None]
    paid = replicas * steps.width
    climb = replicas * cost.start
    base = replicas * (cells + 1)
    # Who is late and still waits at the end is late.
    overdue = np.maximum(due[count] - (total[-1] - backlog), 0.0)
    value = np.tile(cost.price * overdue, (most + 1, 1))
    kept = np.zeros((count + 1, most + 1, cells + 1), dtype=np.float32)
    kept[count] = value

    def costing(t: int, waits: Numbers, after: Numbers) -> Numbers:
        """The cost of each size in step ``t``, for each number of waiting requests."""
        serves = np.minimum(replicas, steps.able[t]) * cost.rate
        left = np.maximum(waits + (steps.came[t] - serves), 0.0)
        begun = first[t] - waits
        late = np.maximum(np.minimum(first[t] + steps.came[t] - left, due[t]) - begun, 0.0)
        # Between two cells by their mean: always up or always down would add or lose a request in
        # each step. What is above the last cell is late for sure.
        place = np.minimum(left / unit, cells - 1e-6)
        cell = place.astype(np.int64)
        part = place - cell
        cell += base
        later = after.take(cell) * (1 - part) + after.take(cell + 1) * part
        late += np.maximum(left - backlog[-1], 0.0)
        priced: Numbers = paid + cost.price * late + later
        priced[int(steps.limit[t]) + 1 :] = np.inf
        priced[: min(cost.least, int(steps.limit[t]))] = np.inf
        return priced

    for t in range(count - 1, -1, -1):
        priced = costing(t, backlog[None, :], value)
        lower = np.minimum.accumulate(priced, axis=0)
        higher = np.minimum.accumulate((priced + climb)[::-1], axis=0)[::-1] - climb
        value = np.minimum(lower, higher)
        kept[t] = value
    last = count if only_first is None else min(only_first, count)
    chosen = np.zeros(last, dtype=np.int64)
    size, waiting = steps.size, steps.waiting
    for t in range(last):
        after = kept[t + 1].astype(np.float64)
        priced = costing(t, np.array([[waiting]]), after)[:, 0]
        size = int(np.argmin(priced + cost.start * np.maximum(replicas[:, 0] - size, 0)))
        serving = min(size, int(steps.able[t])) * cost.rate
        waiting = max(0.0, waiting + float(steps.came[t]) - serving)
        chosen[t] = size
    return chosen


def scheduled(world: World, width: float, ready: NDArray[np.int64]) -> SizingRule:
    """The rule that orders a cold start ahead what shall be ready."""
    ahead = ceil(world.cold_start / width)
    padded = np.concatenate((ready, np.full(ahead, world.min)))
    orders = [int(padded[t : t + ahead + 1].max()) for t in range(len(ready))]

    def decide(view: View) -> int:
        step = int(view.now / width)
        if step < len(orders):
            return orders[step]
        return max(world.min, view.size if view.queued else 0, 1 if view.queued else 0)

    return SizingRule(decide, every=1.0)
