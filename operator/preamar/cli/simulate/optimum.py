"""What would the cheapest sizes have been for one who knew every arrival beforehand?

A dynamic program over (replicas, waiting requests) in steps of a second or a little more, in which
a late request costs ``price`` replica-seconds. Serving is a fluid in it: ``slots / service``
requests begin per second and replica. The price is then chosen so that the sizes, replayed request
by request, keep the goal for the share that was asked for. The state and the first-come-first-
served count of late starts are exact; the fluid and the steps are what may be improved upon.

Sources: the envelope (arrivals of any window begin within the window and the wait that the goal
allows) is the min-plus service curve of network calculus; switching costs as in Lin et al., Dynamic
right-sizing for power-proportional data centers, INFOCOM 2011.
"""

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from preamar.cli.simulate.engine import Outcome, Rule, World, run
from preamar.cli.simulate.trace import Load

MOST_STEPS = 6000
CELLS = 256
PRICES = 14


@dataclass(frozen=True, slots=True)
class Steps:
    """A load cut into steps of ``width`` seconds; ``came[t]`` requests arrived in step ``t``."""

    width: float
    came: NDArray[np.int64]
    total: NDArray[np.int64]


def cut(load: Load) -> Steps:
    """A load in at most about ``MOST_STEPS`` steps of at least a second."""
    width = max(1.0, ceil(load.seconds / MOST_STEPS))
    count = int(load.seconds / width) + 1
    came = np.bincount((np.asarray(load.arrivals) / width).astype(np.int64), minlength=count)
    return Steps(width, came, np.concatenate(([0], np.cumsum(came))))


def sizes(load: Load, world: World, steps: Steps, price: float) -> NDArray[np.int64]:
    """Replicas to have ready in each step: the cheapest, at ``price`` seconds per late request."""
    rate = world.slots * steps.width / load.mean_service
    wait = max(0.0, world.goal - load.mean_service)
    lag = int(wait / steps.width)
    count, most = len(steps.came), world.max
    window = lag + ceil(world.cold_start / steps.width) + 1
    peak = (
        int(max(steps.total[window:] - steps.total[:-window], default=steps.total[-1]))
        if count >= window
        else int(steps.total[-1])
    )
    unit = max(1.0, peak / CELLS)
    cells = min(CELLS, ceil(peak / unit)) + 2
    backlog = np.arange(cells) * unit
    replicas = np.arange(most + 1)
    serves = replicas[:, None] * rate
    start = world.cold_start
    value = np.zeros((most + 1, cells))
    best = np.zeros((count, most + 1, cells), dtype=np.int16)
    index = np.arange(most + 1)[:, None]
    for t in range(count - 1, -1, -1):
        present = backlog[None, :] + steps.came[t]
        left = np.maximum(present - serves, 0.0)
        begun = steps.total[t] - backlog[None, :]
        overdue = steps.total[max(0, t - lag)]
        late = np.clip(np.minimum(steps.total[t + 1] - left, overdue) - begun, 0.0, None)
        # Between two cells by their mean: always up or always down would add or lose a request in
        # each step.
        place = np.minimum(left / unit, cells - 1)
        cell = np.minimum(place.astype(np.int64), cells - 2)
        part = place - cell
        spill = np.clip(left - backlog[-1], 0.0, None)
        later = value[index, cell] * (1 - part) + value[index, cell + 1] * part
        cost = replicas[:, None] * steps.width + price * (late + spill) + later
        if t * steps.width < start:
            cost[world.min + 1 :] = np.inf  # nothing ordered could be ready yet
        cost[: world.min] = np.inf
        lower = np.minimum.accumulate(cost, axis=0)
        arg_lower = _argument(cost, lower)
        climb = cost + replicas[:, None] * start
        flipped = climb[::-1]
        upper = np.minimum.accumulate(flipped, axis=0)
        arg_upper = (most - _argument(flipped, upper))[::-1]
        higher = upper[::-1] - replicas[:, None] * start
        goes_up = higher < lower
        value = np.where(goes_up, higher, lower)
        best[t] = np.where(goes_up, arg_upper, arg_lower)
    chosen = np.zeros(count, dtype=np.int64)
    size, waiting = world.min, 0.0
    for t in range(count):
        size = int(best[t, size, min(round(waiting / unit), cells - 1)])
        waiting = max(0.0, waiting + float(steps.came[t]) - size * rate)
        chosen[t] = size
    return chosen


def _argument(cost: NDArray[np.float64], running: NDArray[np.float64]) -> NDArray[np.int64]:
    """Where each running minimum was reached."""
    rows = np.where(cost <= running, np.arange(len(cost))[:, None], 0)
    return np.maximum.accumulate(rows, axis=0)


def scheduled(world: World, steps: Steps, ready: NDArray[np.int64]) -> Rule:
    """The rule that orders a cold start ahead what shall be ready."""
    ahead = ceil(world.cold_start / steps.width)
    padded = np.concatenate((ready, np.full(ahead, world.min)))
    orders = [int(padded[t : t + ahead + 1].max()) for t in range(len(ready))]

    def at(now: float) -> int:
        step = int(now / steps.width)
        return orders[step] if step < len(orders) else int(ready[-1]) if len(ready) else world.min

    return Rule(lambda view: at(view.now), every=1.0)


def optimum(load: Load, world: World, share: float, *, record: bool = False) -> Outcome:
    """The cheapest outcome found that keeps the goal for ``share`` of all requests, or, where none
    does, the one that keeps it for most."""
    steps = cut(load)
    low, high = 0.0, 0.0
    kept: tuple[float, float, NDArray[np.int64]] | None = None
    most: tuple[float, NDArray[np.int64]] | None = None
    price = 4.0
    for _ in range(PRICES):
        ready = sizes(load, world, steps, price)
        outcome = run(load, world, scheduled(world, steps, ready))
        within = outcome.within_goal
        if most is None or within > most[0]:
            most = (within, ready)
        if within >= share:
            if kept is None or outcome.replica_seconds < kept[0]:
                kept = (outcome.replica_seconds, within, ready)
            high = price
        else:
            low = price
        price = price * 4 if not high else (low + high) / 2 if low else high / 8
        if price > 1e6:
            break
    assert most is not None
    ready = kept[2] if kept else most[1]
    return run(load, world, scheduled(world, steps, ready), record=record)
