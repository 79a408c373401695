"""Which sizes keep the goal for a share of all requests at the least cost, arrivals being known?

The dynamic program is solved at several prices of a late request, each schedule is replayed request
by request, and the cheapest that keeps the share is then improved upon in the exact engine: parts
of cheaper schedules are put into it, orders come later, removals earlier, as long as the share
holds. What comes out can be had, so it is an upper bound of the true optimum; ``bound`` is a lower.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preamar.cli.simulate.engine import SimulationResult, World, run
from preamar.cli.simulate.optimum import costs, cut, scheduled, sizes
from preamar.cli.simulate.trace import LoadTrace

PRICES = (0.5, 1.0, 3.0, 12.0)
LEANS = (1.0, 0.5, 0.0, -0.5)
"""Times the mean service, added to the wait that the goal leaves: idle replicas begin with all
their slots at once, which a fluid does not see; below 0 is to be on the safe side."""
SLOW = (0.9, 0.97)
"""Shares of requests for whose service time the goal should leave room, where times differ."""
BEYOND = 1e4
"""A price of a late request above all costs, tried where nothing else keeps the share."""
POLISH_SECONDS = 10.0
SHIFTS = (8, 3, 1)
"""Steps by which an order or a removal is moved."""

Schedule = NDArray[np.int64]
Tried = Callable[[Schedule, float], "ClairvoyantPlan"]


@dataclass(frozen=True, slots=True)
class ClairvoyantPlan:
    """A schedule of sizes with what came of it, and the price at which it was found."""

    ready: Schedule
    share: float
    cost: float
    price: float = 0.0


def bound(load: LoadTrace, world: World) -> float:
    """No sizes cost less: all work, on replicas that are always full, or the least size."""
    return max(sum(load.service) / world.slots, world.min * load.seconds)


def waits(load: LoadTrace, world: World) -> list[float]:
    """Seconds that a request may wait, from the most daring to the safest: service times differ,
    and the fluid only comes near."""
    mean = load.mean_service
    daring = [world.goal - mean + lean * mean for lean in LEANS]
    slow = [world.goal - load.service_of(share) for share in SLOW]
    return sorted({round(max(wait, 0.0), 3) for wait in (*daring, *slow)}, reverse=True)


def clairvoyant(
    load: LoadTrace,
    world: World,
    share: float,
    *,
    record: bool = False,
    polish_seconds: float = POLISH_SECONDS,
) -> tuple[SimulationResult, float]:
    """The cheapest outcome found that keeps the goal for ``share`` of all requests, or, where none
    does, the one that keeps it for most; and the price of a late request that led to it."""
    steps = cut(load, world)

    def tried(ready: Schedule, price: float) -> ClairvoyantPlan:
        outcome = run(load, world, scheduled(world, steps.width, ready))
        return ClairvoyantPlan(ready, outcome.within_goal, outcome.replica_seconds, price)

    plans = [
        tried(sizes(steps, costs(load, world, steps.width, price, wait)), price)
        for wait in waits(load, world)
        for price in PRICES
    ]
    if all(plan.share < share for plan in plans):
        left = world.goal - load.service_of(0.99)
        plans += [
            tried(sizes(steps, costs(load, world, steps.width, BEYOND, wait)), BEYOND)
            for wait in (left, left / 2, 0.0)
        ]
    good = [plan for plan in plans if plan.share >= share]
    if good:
        until = time.monotonic() + polish_seconds
        best = _joined(plans, min(good, key=lambda plan: plan.cost), share, tried, until)
        best = _polished(best, share, tried, until)
    else:
        best = max(plans, key=lambda plan: (plan.share, -plan.cost))
    rule = scheduled(world, steps.width, best.ready)
    return run(load, world, rule, record=record), best.price


def _joined(
    plans: list[ClairvoyantPlan], best: ClairvoyantPlan, share: float, tried: Tried, until: float
) -> ClairvoyantPlan:
    """``best`` with the longest beginning or end of a cheaper plan that the share allows: prices
    jump from one schedule to the next, and what lies between them is on no price's way."""
    for other in sorted(plans, key=lambda plan: -plan.share):
        if other.cost >= best.cost or other.share >= share:
            continue
        for at_the_end in (False, True):
            low, high, whole = 0, len(other.ready), best.ready
            while low < high and time.monotonic() < until:
                length = (low + high + 1) // 2
                place = len(whole) - length if at_the_end else length
                front, back = (whole, other.ready) if at_the_end else (other.ready, whole)
                plan = tried(np.concatenate((front[:place], back[place:])), best.price)
                if plan.share >= share:
                    low = length
                    best = min(best, plan, key=lambda plan: plan.cost)
                else:
                    high = length - 1
    return best


def _polished(best: ClairvoyantPlan, share: float, tried: Tried, until: float) -> ClairvoyantPlan:
    """``best`` with orders later and removals earlier, one after the other."""
    for shift in SHIFTS:
        at = 0
        while at + 1 < len(best.ready) and time.monotonic() < until:
            at += 1
            was, will = best.ready[at - 1], best.ready[at]
            if was == will:
                continue
            ready = best.ready.copy()
            part = ready[at : at + shift] if will > was else ready[max(1, at - shift) : at]
            part[part > min(was, will)] -= 1
            plan = tried(ready, best.price)
            if plan.share >= share and plan.cost < best.cost:
                best = plan
    return best
