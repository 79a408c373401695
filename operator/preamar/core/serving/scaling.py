"""How many replicas, and why?

The size follows demand absolutely (requests in flight over the target), never relative to the
present size. Then named limits may change the answer, each with its reason; the user's bounds come
last. More demand never means fewer replicas (tests/core/serving/test_scaling.py).

What the next pass must remember travels in the decision itself, which status keeps: ``at`` is
since when demand has been below the size, ``wanted`` the most that it asked for since then.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from math import ceil

from preamar.api.inference import InferenceService
from preamar.api.scaling import ScalingMode
from preamar.core.moments import moment
from preamar.core.serving.observe import Demand

COOLING_SECONDS = 30
"""How long demand must have been lower before replicas go. Loading a model again costs more."""


class Reason(StrEnum):
    DEMAND = "DemandMet"
    COOLING = "ScaleDownCooling"
    IDLE = "IdleBeforeZero"
    BLIND = "DemandUnknown"
    FIRST_LOAD = "FirstLoad"
    FLOOR = "AtMinReplicas"
    CEILING = "AtMaxReplicas"
    EXTERNAL = "SizedByOthers"
    FIXED = "FixedSize"


@dataclass(frozen=True, slots=True)
class Policy:
    """What the user allows. Seconds; ``target`` is requests in flight per replica."""

    min: int
    max: int
    target: Decimal
    idle: int
    cooling: int = COOLING_SECONDS


@dataclass(frozen=True, slots=True)
class Decision:
    """A size with its reason, and what the next decision must know."""

    replicas: int
    reason: Reason
    wanted: int
    at: datetime
    recheck_in: float | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """What a decision may look at. ``loaded``: this revision's model has loaded once."""

    now: datetime
    replicas: int
    demand: Demand
    loaded: bool
    last: Decision | None = None


Limit = Callable[[Policy, Situation, Decision], Decision]
LOWER = frozenset({Reason.COOLING, Reason.IDLE})


def follow_demand(policy: Policy, situation: Situation) -> Decision:
    """As many as demand asks for."""
    demand, now = situation.demand, situation.now
    if demand.in_flight is not None:
        wanted = _copies(demand.in_flight, policy)
        return Decision(wanted, Reason.DEMAND, wanted, now)
    # No report is not an empty queue: what is known may raise the size and never lowers it.
    partial = _copies(demand.at_least, policy)
    if partial > situation.replicas:
        return Decision(partial, Reason.DEMAND, partial, now)
    return Decision(situation.replicas, Reason.BLIND, situation.replicas, now)


def load_once(_policy: Policy, situation: Situation, proposed: Decision) -> Decision:
    """A model that nobody has seen load is not put to sleep, else it fails its first caller."""
    if situation.loaded or proposed.replicas > 0:
        return proposed
    return replace(proposed, replicas=1, reason=Reason.FIRST_LOAD)


def cool_before_shrinking(policy: Policy, situation: Situation, proposed: Decision) -> Decision:
    """Shrink to the most that was wanted during a whole window, and to zero after idling."""
    current, now = situation.replicas, situation.now
    peak, since = max(proposed.replicas, policy.min), now
    if peak >= current:
        return proposed
    last = situation.last
    if last is not None and last.reason in LOWER and last.replicas == current:
        # A clock that went backwards must not make the window longer than it is.
        peak, since = max(peak, min(last.wanted, current)), min(last.at, now)
    low_for = (now - since) / timedelta(seconds=1)
    window = policy.idle if peak == 0 and current == 1 else policy.cooling
    if low_for < window:
        reason = Reason.IDLE if peak == 0 and current == 1 else Reason.COOLING
        return Decision(current, reason, peak, since, recheck_in=window - low_for)
    if peak > 0:
        return Decision(peak, proposed.reason, peak, now)
    if low_for < policy.idle:
        # Idle for the cooling window but not for long enough: one stays, and its idling counts.
        return Decision(1, Reason.IDLE, 0, since, recheck_in=policy.idle - low_for)
    return Decision(0, proposed.reason, 0, now)


def within_bounds(policy: Policy, _situation: Situation, proposed: Decision) -> Decision:
    """The user's min and max are the last word."""
    if proposed.replicas < policy.min:
        return Decision(policy.min, Reason.FLOOR, policy.min, proposed.at)
    if proposed.replicas > policy.max:
        return Decision(policy.max, Reason.CEILING, policy.max, proposed.at)
    return proposed


LIMITS: tuple[Limit, ...] = (load_once, cool_before_shrinking, within_bounds)


def decide(policy: Policy, situation: Situation) -> Decision:
    """The size for now."""
    decision = follow_demand(policy, situation)
    for limit in LIMITS:
        decision = limit(policy, situation, decision)
    return decision


def decide_for(service: InferenceService, demand: Demand, loaded: bool, now: datetime) -> Decision:
    """The size of a service; outside mode Managed that is what others have written."""
    spec = service.spec
    if spec.scaling.mode != ScalingMode.MANAGED:
        fixed = spec.scaling.mode == ScalingMode.FIXED
        reason = Reason.FIXED if fixed else Reason.EXTERNAL
        return Decision(spec.replicas, reason, spec.replicas, now)
    policy = Policy(
        min=spec.scaling.min,
        max=spec.scaling.max,
        target=Decimal(spec.scaling.target.value),
        idle=spec.scaling.idle_seconds,
    )
    return decide(policy, Situation(now, spec.replicas, demand, loaded, remembered(service)))


def remembered(service: InferenceService) -> Decision | None:
    """The last decision, from status, so that a restart forgets nothing."""
    told = service.status.decision
    at = moment(told.at) if told else None
    if told is None or at is None or told.reason not in set(Reason):
        return None
    wanted = told.replicas if told.wanted is None else told.wanted
    return Decision(told.replicas, Reason(told.reason), wanted, at)


def signal(service: InferenceService, demand: Demand) -> str:
    """What a decision rests on, in words."""
    if service.spec.scaling.mode != ScalingMode.MANAGED:
        return f"spec.replicas={service.spec.replicas}"
    seen = "unknown" if demand.in_flight is None else str(demand.in_flight)
    return f"InFlight={seen}, target {service.spec.scaling.target.value}"


def _copies(in_flight: int, policy: Policy) -> int:
    return ceil(Decimal(max(in_flight, 0)) / policy.target)
