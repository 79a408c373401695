"""What is it worth to know the near future: one cold start ahead, or two?

Every few seconds the optimum's dynamic program is solved again for the arrivals that can be seen
and, beyond them, the mean rate of the last minute; only its first order is carried out (a receding
horizon). What a rule without any forecast loses to this is what forecasting could gain.
"""

from math import ceil

import numpy as np

from preamar.cli.simulate.engine import SimulationResult, SizingRule, View, World, run
from preamar.cli.simulate.optimum import TimeGrid, costs, sizes
from preamar.cli.simulate.trace import LoadTrace

TAIL_SECONDS = 60.0
"""Beyond what is seen: the least, so that a start has time to be worth it."""
STEPS_TO_START = 30
TRIES = ((3.0, 0.5), (12.0, 0.9), (24.0, 0.97), (48.0, 0.99))
"""Price of a late request, and share of requests whose service time the goal leaves room for."""
CELLS = 96


def looking_ahead(
    load: LoadTrace, world: World, seconds: float, price: float, wait: float
) -> SizingRule:
    """The rule that sees ``seconds`` ahead; a request that waits for more than ``wait`` seconds costs
    ``price`` replica-seconds."""
    width = max(1.0, world.cold_start / STEPS_TO_START)
    start = ceil(world.cold_start / width)
    seen = round(seconds / width)
    tail = ceil(max(TAIL_SECONDS, 2 * world.cold_start) / width)
    cost = costs(load, world, width, price, wait)
    arrivals = np.asarray(load.arrivals)
    past = ceil(cost.lag) + 1

    def decide(view: View) -> int:
        edges = view.now + np.arange(-past, seen + 1) * width
        came = np.diff(np.searchsorted(arrivals, edges, side="right")).astype(np.float64)
        minute = view.arrived[-60:]
        rate = sum(minute) / len(minute) if minute else 0.0
        future = np.concatenate((came[past:], np.full(tail, rate * width)))
        count = len(future)
        limit = np.full(count, max(world.max, view.size))
        limit[:start] = view.size
        able = limit.copy()
        able[:start] = view.ready
        for ordered in view.ordered:
            able[ceil((ordered + world.cold_start - view.now) / width) : start] += 1
        steps = TimeGrid(width, future, came[:past], float(view.queued), view.size, limit, able)
        plan = sizes(steps, cost, only_first=start + 1, cells=CELLS)
        # A low price would let late requests wait for ever at size zero.
        return max(int(plan.max()), 1 if view.queued else 0)

    return SizingRule(decide, every=max(1.0, round(world.cold_start / 6)), prompt=True)


def ahead(
    load: LoadTrace, world: World, seconds: float, share: float, *, record: bool = False
) -> tuple[SimulationResult, float]:
    """The outcome of the first try that keeps the goal for ``share`` of all requests, or of the one
    that keeps it for most; and its price."""
    best: tuple[SimulationResult, float] | None = None
    for price, slow in TRIES:
        wait = world.goal - load.service_of(slow)
        rule = looking_ahead(load, world, seconds, price, wait)
        outcome = run(load, world, rule, record=record)
        if best is None or outcome.within_goal > best[0].within_goal:
            best = outcome, price
        if outcome.within_goal >= share:
            return outcome, price
    assert best is not None
    return best
