"""What size should this service have: what does the law look at, and what is told of it?

Joins the resource, its pods and its demand to the law's arguments. Outside mode Managed the size is
what others have written.
"""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

from preamar.api.inference import InferenceService
from preamar.api.scaling import ScalingMode, Signal
from preamar.core.pods import PodView
from preamar.core.serving.sizing.demand_size import (
    COLD_START_SECONDS,
    Aim,
    Measurements,
    ReplicaCounts,
)
from preamar.core.serving.sizing.scaling import (
    ScalingDecision,
    ScalingPolicy,
    ScalingReason,
    ScalingSituation,
    decide,
)
from preamar.core.serving.sizing.static_size import StaticSize
from preamar.core.timestamps import moment
from preamar.protocol.demand import Demand

ALMOST = 1.0
"""Seconds that a replica is still away which should have been ready by now."""


def size_of(
    service: InferenceService,
    *,
    demand: Demand,
    pods: Iterable[PodView],
    loaded: bool,
    failing: bool,
    habit: StaticSize | None,
    now: datetime,
) -> ScalingDecision:
    """The size of a service."""
    spec = service.spec
    if spec.scaling.mode != ScalingMode.MANAGED:
        fixed = spec.scaling.mode == ScalingMode.FIXED
        reason = ScalingReason.FIXED if fixed else ScalingReason.EXTERNAL
        return ScalingDecision(spec.replicas, reason, spec.replicas, now)
    policy = ScalingPolicy(
        spec.scaling.min, spec.scaling.max, aim_of(service), spec.scaling.idle_seconds
    )
    cold_start = cold_start_of(service)
    situation = ScalingSituation(
        now=now,
        replicas=spec.replicas,
        demand=demand,
        loaded=loaded,
        last=remembered(service),
        fleet=fleet_of(pods, cold_start, now),
        learned=Measurements(cold_start, habit),
        failing=failing,
    )
    return decide(policy, situation)


def aim_of(service: InferenceService) -> Aim:
    """What the size follows. A replica runs its batches at once, in each of its instances; the
    gateway gives it no more where the goal is in seconds, so that waiting is seen and can move."""
    spec = service.spec
    target, runtime = spec.scaling.target, spec.runtime
    slots = max(1, runtime.batching.max_batch_size) * max(1, runtime.instances)
    return Aim(target.signal, Decimal(target.value), slots)


def cold_start_of(service: InferenceService) -> float | None:
    """Seconds from order to ready, as learned."""
    learned = service.status.learned
    return float(learned.cold_start_seconds) if learned and learned.cold_start_seconds else None


def fleet_of(pods: Iterable[PodView], cold_start: float | None, now: datetime) -> ReplicaCounts:
    """Replicas that are ready, and when the others should be. ``pods`` are those that count."""
    usual = COLD_START_SECONDS if cold_start is None else cold_start
    ready, starting = 0, []
    for pod in pods:
        if pod.ready:
            ready += 1
            continue
        age = (now - pod.created).total_seconds() if pod.created else 0.0
        # A pod without a node has all of its start before it.
        left = usual if pod.unschedulable or age < 0 else usual - age
        starting.append(max(ALMOST, left))
    return ReplicaCounts(ready, tuple(sorted(starting)))


def remembered(service: InferenceService) -> ScalingDecision | None:
    """The last decision, from status, so that a restart forgets nothing."""
    told = service.status.decision
    at = moment(told.at) if told else None
    if told is None or at is None or told.reason not in set(ScalingReason):
        return None
    wanted = told.replicas if told.wanted is None else told.wanted
    return ScalingDecision(told.replicas, ScalingReason(told.reason), wanted, at)


def signal(service: InferenceService, demand: Demand) -> str:
    """What a decision rests on, in words."""
    spec = service.spec.scaling
    if spec.mode != ScalingMode.MANAGED:
        return f"spec.replicas={service.spec.replicas}"
    seen = "unknown" if demand.in_flight is None else str(demand.in_flight)
    if spec.target.signal == Signal.IN_FLIGHT:
        return f"InFlight={seen}, target {spec.target.value}"
    minute = demand.arrivals[-60:]
    rate = f"{sum(minute) / len(minute):.1f}" if minute else "unknown"
    each = "unknown" if demand.service_seconds is None else f"{demand.service_seconds:.2f}"
    waits = f"oldest wait {demand.oldest_wait:.1f} s"
    goal = f"goal {spec.target.value} s of {spec.target.signal}"
    return f"{goal}; {seen} in flight, {waits}, {rate} arrivals/s, {each} s each"
