"""How many replicas, and why?

The size follows demand absolutely (``wanted``), never relative to the present size. Then named
limits may change the answer, each with its reason; the user's bounds come last. More requests in
flight never mean fewer replicas (tests/core/serving/sizing/test_scaling.py).

What the next pass must remember travels in the decision itself, which status keeps: ``at`` is
since when demand has been below the size, ``wanted`` the most that it asked for since then.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from preamar.core.serving.sizing.demand_size import (
    Aim,
    Measurements,
    ReplicaCounts,
    copies,
    sized_by_goal,
    wanted,
)
from preamar.protocol.demand import Demand

COOLING_SECONDS = 30.0
"""How long demand must have been lower before replicas go, at least."""
COOLING_AT_MOST = 600.0


class ScalingReason(StrEnum):
    DEMAND = "DemandMet"
    GOAL = "GoalKept"
    COOLING = "ScaleDownCooling"
    IDLE = "IdleBeforeZero"
    NOBODY_WAITS = "NobodyWaits"
    BLIND = "DemandUnknown"
    FIRST_LOAD = "FirstLoad"
    FAILING = "ReplicasFailing"
    FLOOR = "AtMinReplicas"
    CEILING = "AtMaxReplicas"
    EXTERNAL = "SizedByOthers"
    FIXED = "FixedSize"


@dataclass(frozen=True, slots=True)
class ScalingPolicy:
    """What the user allows. ``idle``: seconds without a request before zero, at least."""

    min: int
    max: int
    aim: Aim
    idle: int


@dataclass(frozen=True, slots=True)
class ScalingDecision:
    """A size with its reason, and what the next decision must know."""

    replicas: int
    reason: ScalingReason
    wanted: int
    at: datetime
    recheck_in: float | None = None


@dataclass(frozen=True, slots=True)
class ScalingSituation:
    """What a decision may look at. ``loaded``: this revision's model has loaded once.
    ``failing``: its replicas cannot run, as their own pods say."""

    now: datetime
    replicas: int
    demand: Demand
    loaded: bool
    last: ScalingDecision | None = None
    fleet: ReplicaCounts = field(default_factory=ReplicaCounts)
    learned: Measurements = field(default_factory=Measurements)
    failing: bool = False


Limit = Callable[[ScalingPolicy, ScalingSituation, ScalingDecision], ScalingDecision]
LOWER = frozenset({ScalingReason.COOLING, ScalingReason.IDLE})
ASKED = frozenset({ScalingReason.DEMAND, ScalingReason.GOAL, ScalingReason.CEILING})


def cooling_seconds(learned: Measurements) -> float:
    """How long a replica that is not needed is kept: as long as another would take to start. Who
    drops it sooner may pay more for starting again than he saved (the rental of skis: twice the
    cheapest at worst)."""
    return min(max(COOLING_SECONDS, learned.cold_start or 0.0), COOLING_AT_MOST)


def follow_demand(policy: ScalingPolicy, situation: ScalingSituation) -> ScalingDecision:
    """As many as demand asks for."""
    demand, now, size = situation.demand, situation.now, situation.replicas
    if demand.in_flight is None:
        # No report is not an empty queue: what is known may raise the size and never lowers it.
        partial = copies(demand.at_least, policy.aim)
        if partial > size:
            return ScalingDecision(partial, ScalingReason.DEMAND, partial, now)
        return ScalingDecision(size, ScalingReason.BLIND, size, now)
    bounds = policy.min, max(policy.max, 1) + 1  # one more, so that a ceiling is told as such
    asked = wanted(
        policy.aim, demand, demand.in_flight, size, situation.fleet, situation.learned, bounds
    )
    # Not by whether the other formula happens to agree: that changes with every request.
    goal = sized_by_goal(policy.aim, demand, situation.learned.cold_start)
    reason = ScalingReason.GOAL if goal and size and asked else ScalingReason.DEMAND
    return ScalingDecision(asked, reason, asked, now)


def load_once(
    _policy: ScalingPolicy, situation: ScalingSituation, proposed: ScalingDecision
) -> ScalingDecision:
    """A model that nobody has seen load is not put to sleep, else it fails its first caller."""
    if situation.loaded or proposed.replicas > 0:
        return proposed
    return replace(proposed, replicas=1, reason=ScalingReason.FIRST_LOAD)


def order_no_more_that_fail(
    _policy: ScalingPolicy, situation: ScalingSituation, proposed: ScalingDecision
) -> ScalingDecision:
    """More replicas of what cannot run would only hold more accelerators; one may try."""
    if not situation.failing or proposed.replicas <= max(situation.replicas, 1):
        return proposed
    return replace(proposed, replicas=max(situation.replicas, 1), reason=ScalingReason.FAILING)


def cool_before_shrinking(
    policy: ScalingPolicy, situation: ScalingSituation, proposed: ScalingDecision
) -> ScalingDecision:
    """Shrink to the most that was wanted during a whole window, and to zero after idling."""
    current, now = situation.replicas, situation.now
    peak, since = max(proposed.replicas, policy.min), now
    if peak >= current:
        return proposed
    if peak == 0 and _in_vain(situation):
        return ScalingDecision(0, ScalingReason.NOBODY_WAITS, 0, now)
    last = situation.last
    if last is not None and last.reason in LOWER and last.replicas == current:
        # A clock that went backwards must not make the window longer than it is.
        peak, since = max(peak, min(last.wanted, current)), min(last.at, now)
    low_for = (now - since) / timedelta(seconds=1)
    cooling = cooling_seconds(situation.learned)
    # To keep an idle one for as long as a start takes costs at most as much as starting it again.
    idle = max(float(policy.idle), min(situation.learned.cold_start or 0.0, COOLING_AT_MOST))
    window = idle if peak == 0 and current == 1 else cooling
    if low_for < window:
        reason = ScalingReason.IDLE if peak == 0 and current == 1 else ScalingReason.COOLING
        return ScalingDecision(current, reason, peak, since, recheck_in=window - low_for)
    if peak > 0:
        return ScalingDecision(peak, proposed.reason, peak, now)
    if low_for < idle:
        # Idle for the cooling window but not for long enough: one stays, and its idling counts.
        return ScalingDecision(1, ScalingReason.IDLE, 0, since, recheck_in=idle - low_for)
    return ScalingDecision(0, proposed.reason, 0, now)


def _in_vain(situation: ScalingSituation) -> bool:
    """Whether replicas that callers asked for still start, none is ready, and nobody waits for
    them any more. What a person ordered is not taken back at once."""
    fleet, last = situation.fleet, situation.last
    asked = last is not None and last.reason in ASKED and last.replicas == situation.replicas
    return situation.loaded and asked and not fleet.ready and bool(fleet.starting)


def within_bounds(
    policy: ScalingPolicy, _situation: ScalingSituation, proposed: ScalingDecision
) -> ScalingDecision:
    """The user's min and max are the last word."""
    if proposed.replicas < policy.min:
        return ScalingDecision(policy.min, ScalingReason.FLOOR, policy.min, proposed.at)
    if proposed.replicas > policy.max:
        return ScalingDecision(policy.max, ScalingReason.CEILING, policy.max, proposed.at)
    return proposed


LIMITS: tuple[Limit, ...] = (
    load_once,
    order_no_more_that_fail,
    cool_before_shrinking,
    within_bounds,
)


def decide(policy: ScalingPolicy, situation: ScalingSituation) -> ScalingDecision:
    """The size for now."""
    decision = follow_demand(policy, situation)
    for limit in LIMITS:
        decision = limit(policy, situation, decision)
    return decision
