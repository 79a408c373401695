"""How many replicas, and why: a sentence a rule, whole decisions compared.

Holds: core/serving/sizing/demand_size.py, core/serving/sizing/scaling.py
"""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preamar.api.scaling import Signal
from preamar.core.serving.sizing.demand_size import Aim, Measurements, ReplicaCounts
from preamar.core.serving.sizing.scaling import (
    COOLING_SECONDS,
    ScalingDecision,
    ScalingPolicy,
    ScalingReason,
    ScalingSituation,
    decide,
)
from preamar.core.serving.sizing.static_size import Habit
from preamar.protocol.demand import Demand
from tests.core.builders import NOW, later

POLICY = ScalingPolicy(min=0, max=4, aim=Aim(Signal.IN_FLIGHT, Decimal(8)), idle=60)
GOAL = ScalingPolicy(min=0, max=9, aim=Aim(Signal.QUEUE_SECONDS, Decimal(8), slots=4), idle=60)
WOKEN = ScalingDecision(1, ScalingReason.DEMAND, 1, NOW)


def situation(replicas, in_flight, *, last=None, loaded=True, at_least=0, **more):
    return ScalingSituation(NOW, replicas, Demand(in_flight, at_least), loaded, last, **more)


def busy(replicas, arrivals, *, queued=0, in_flight=None, last=None, habit=None, starting=()):
    """Requests of two seconds each, cold starts of thirty."""
    demand = Demand(
        queued if in_flight is None else in_flight,
        queued=queued,
        arrivals=tuple(arrivals),
        service_seconds=2.0,
    )
    fleet = ReplicaCounts(replicas - len(starting), tuple(starting))
    return ScalingSituation(NOW, replicas, demand, True, last, fleet, Measurements(30.0, habit))


def low_since(seconds, replicas, wanted, reason=ScalingReason.COOLING):
    return ScalingDecision(replicas, reason, wanted, later(-seconds))


CASES = [
    pytest.param(POLICY, situation(1, 9), ScalingDecision(2, ScalingReason.DEMAND, 2, NOW), id="demand above one replica's target asks for a second"),
    pytest.param(POLICY, situation(0, 20), ScalingDecision(3, ScalingReason.DEMAND, 3, NOW), id="wakes from zero at once, sized to the queue"),
    pytest.param(POLICY, situation(1, 900), ScalingDecision(4, ScalingReason.CEILING, 4, NOW), id="never more than max"),
    pytest.param(replace(POLICY, min=2), situation(1, 0), ScalingDecision(2, ScalingReason.FLOOR, 2, NOW), id="never less than min"),
    pytest.param(replace(POLICY, min=2, max=2), situation(3, 0, last=low_since(0, 3, 2)), ScalingDecision(2, ScalingReason.CEILING, 2, NOW), id="a lowered max is obeyed without cooling"),
    pytest.param(POLICY, situation(3, None), ScalingDecision(3, ScalingReason.BLIND, 3, NOW), id="no report is not an empty queue"),
    pytest.param(POLICY, situation(1, None, at_least=20), ScalingDecision(3, ScalingReason.DEMAND, 3, NOW), id="partial knowledge may raise the size"),
    pytest.param(POLICY, situation(3, None, at_least=1), ScalingDecision(3, ScalingReason.BLIND, 3, NOW), id="partial knowledge never lowers the size"),
    pytest.param(POLICY, situation(4, 9), ScalingDecision(4, ScalingReason.COOLING, 2, NOW, 30.0), id="lower demand starts to cool"),
    pytest.param(POLICY, situation(4, 1, last=low_since(20, 4, 3)), ScalingDecision(4, ScalingReason.COOLING, 3, later(-20), 10.0), id="cooling remembers the most that was wanted"),
    pytest.param(POLICY, situation(4, 1, last=low_since(30, 4, 3)), ScalingDecision(3, ScalingReason.DEMAND, 3, NOW), id="shrinks to the most of a whole window"),
    pytest.param(POLICY, situation(4, 0, last=low_since(30, 4, 0)), ScalingDecision(1, ScalingReason.IDLE, 0, later(-30), 30.0), id="an idle model keeps one replica until it has idled enough"),
    pytest.param(POLICY, situation(1, 0, last=low_since(30, 1, 0, ScalingReason.IDLE)), ScalingDecision(1, ScalingReason.IDLE, 0, later(-30), 30.0), id="the last replica waits for idleSeconds"),
    pytest.param(POLICY, situation(1, 0, last=low_since(60, 1, 0, ScalingReason.IDLE)), ScalingDecision(0, ScalingReason.DEMAND, 0, NOW), id="sleeps after idleSeconds"),
    pytest.param(POLICY, situation(1, 0, last=low_since(60, 1, 0, ScalingReason.IDLE), loaded=False), ScalingDecision(1, ScalingReason.FIRST_LOAD, 0, NOW), id="a model that never loaded is not put to sleep"),
    pytest.param(POLICY, situation(0, 0, loaded=False), ScalingDecision(1, ScalingReason.FIRST_LOAD, 0, NOW), id="a changed model is loaded once before it sleeps again"),
    pytest.param(POLICY, situation(1, 0, last=low_since(60, 2, 0, ScalingReason.IDLE)), ScalingDecision(1, ScalingReason.IDLE, 0, NOW, 60.0), id="what was decided for another size is not counted"),
    pytest.param(POLICY, situation(1, 0, last=ScalingDecision(1, ScalingReason.BLIND, 1, later(-600))), ScalingDecision(1, ScalingReason.IDLE, 0, NOW, 60.0), id="time spent blind is not idle time"),
    pytest.param(POLICY, situation(1, 0, last=ScalingDecision(1, ScalingReason.IDLE, 0, later(50))), ScalingDecision(1, ScalingReason.IDLE, 0, NOW, 60.0), id="a clock that went backwards waits one window at most"),
    pytest.param(POLICY, situation(3, 0, last=low_since(40, 3, 2), learned=Measurements(45.0)), ScalingDecision(3, ScalingReason.COOLING, 2, later(-40), 5.0), id="what takes long to start is kept as long as a start takes"),
    pytest.param(POLICY, situation(1, 0, last=low_since(60, 1, 0, ScalingReason.IDLE), learned=Measurements(90.0)), ScalingDecision(1, ScalingReason.IDLE, 0, later(-60), 30.0), id="the last replica idles for at least as long as a start takes"),
    pytest.param(POLICY, situation(1, 0, last=WOKEN, fleet=ReplicaCounts(0, (20.0,))), ScalingDecision(0, ScalingReason.NOBODY_WAITS, 0, NOW), id="a wake is cancelled when all who waited have left"),
    pytest.param(POLICY, situation(1, 0, last=WOKEN, fleet=ReplicaCounts(1)), ScalingDecision(1, ScalingReason.IDLE, 0, NOW, 60.0), id="a replica that is ready stays for the idle time"),
    pytest.param(POLICY, situation(1, 0, fleet=ReplicaCounts(0, (20.0,))), ScalingDecision(1, ScalingReason.IDLE, 0, NOW, 60.0), id="what a person ordered is not taken back at once"),
    pytest.param(POLICY, situation(1, None, last=WOKEN, fleet=ReplicaCounts(0, (20.0,))), ScalingDecision(1, ScalingReason.BLIND, 1, NOW), id="a wake is not cancelled while demand is unknown"),
    pytest.param(POLICY, situation(2, 30, failing=True), ScalingDecision(2, ScalingReason.FAILING, 4, NOW), id="no more replicas of what cannot run"),
    pytest.param(POLICY, situation(0, 30, failing=True), ScalingDecision(1, ScalingReason.FAILING, 4, NOW), id="one replica may try what could not run"),
    pytest.param(POLICY, situation(3, 1, failing=True, last=low_since(30, 3, 1)), ScalingDecision(1, ScalingReason.DEMAND, 1, NOW), id="what cannot run still shrinks"),
    pytest.param(GOAL, busy(3, [5] * 90, in_flight=10), ScalingDecision(3, ScalingReason.GOAL, 3, NOW), id="a queue within the goal needs no fourth replica"),
    pytest.param(GOAL, busy(3, [5] * 90, in_flight=7), ScalingDecision(3, ScalingReason.GOAL, 3, NOW), id="the reason stays when the square-root size happens to agree"),
    pytest.param(GOAL, busy(1, [5] * 90, in_flight=10), ScalingDecision(7, ScalingReason.GOAL, 7, NOW), id="too few for what arrives: at once the size that also ends the queue of the start"),
    pytest.param(GOAL, busy(3, [5] * 90, in_flight=10, starting=(10.0, 10.0)), ScalingDecision(3, ScalingReason.GOAL, 3, NOW), id="replicas that start are capacity"),
    pytest.param(GOAL, busy(0, [0] * 60 + [9], queued=9), ScalingDecision(3, ScalingReason.DEMAND, 3, NOW), id="wakes to the square-root size of what waits"),
    pytest.param(GOAL, busy(5, [5] * 90, in_flight=10), ScalingDecision(5, ScalingReason.COOLING, 3, NOW, 30.0), id="more than the goal needs starts to cool"),
    pytest.param(GOAL, busy(1, [0] * 90), ScalingDecision(1, ScalingReason.IDLE, 0, NOW, 60.0), id="nothing arrived for a cold start: idle"),
    pytest.param(GOAL, busy(3, [1] * 90, in_flight=2, habit=Habit(6, 200, 50)), ScalingDecision(6, ScalingReason.GOAL, 6, NOW), id="a habit keeps its size between bursts"),
    pytest.param(GOAL, busy(6, [0] * 60 + [40] * 30, queued=90, in_flight=114, habit=Habit(6, 2000, 90)), ScalingDecision(6, ScalingReason.GOAL, 6, NOW), id="a habit does not chase a burst that it has seen"),
    pytest.param(GOAL, busy(6, [0] * 60 + [40] * 30, queued=90, in_flight=114, habit=Habit(6, 100, 90)), ScalingDecision(9, ScalingReason.CEILING, 9, NOW), id="what is new is followed, habit or not"),
    pytest.param(GOAL, busy(6, [0] * 60 + [40] * 30, queued=91, in_flight=115, habit=Habit(6, 2000, 90)), ScalingDecision(9, ScalingReason.CEILING, 9, NOW), id="a queue longer than a habit has seen is followed"),
    pytest.param(replace(GOAL, min=1), busy(6, [0] * 90, habit=Habit(6, 200, 50)), ScalingDecision(6, ScalingReason.GOAL, 6, NOW), id="where it never sleeps, a habit stands through the silence"),
    pytest.param(GOAL, busy(1, [0] * 90, habit=Habit(6, 200, 50)), ScalingDecision(1, ScalingReason.IDLE, 0, NOW, 60.0), id="where it may sleep, silence ends a habit"),
    pytest.param(GOAL, situation(2, 18), ScalingDecision(6, ScalingReason.DEMAND, 6, NOW), id="without history the work there is and its square root"),
]  # fmt: skip


@pytest.mark.parametrize(("policy", "seen", "expected"), CASES)
def test_size(policy, seen, expected):
    assert decide(policy, seen) == expected


aims = st.builds(
    Aim, st.sampled_from(Signal), st.decimals("0.001", 100, places=3), st.integers(1, 16)
)
policies = st.builds(
    lambda low, more, aim, idle: ScalingPolicy(low, low + more, aim, idle),
    st.integers(0, 5),
    st.integers(1, 8),
    aims,
    st.integers(0, 600),
)
lasts = st.none() | st.builds(
    ScalingDecision,
    st.integers(0, 12),
    st.sampled_from(ScalingReason),
    st.integers(0, 12),
    st.integers(-1000, 1000).map(later),
)
seconds = st.none() | st.floats(0.001, 600)
demands = st.builds(
    Demand,
    st.none() | st.integers(0, 10_000),
    st.integers(0, 100),
    st.integers(0, 500),
    arrivals=st.lists(st.integers(0, 60), max_size=90).map(tuple),
    service_seconds=seconds,
    first_token_seconds=seconds,
)
fleets = st.builds(
    ReplicaCounts,
    st.integers(0, 12),
    st.lists(st.floats(1, 600), max_size=6).map(lambda e: tuple(sorted(e))),
)
learned = st.builds(
    Measurements,
    seconds,
    st.none() | st.builds(Habit, st.integers(1, 20), st.integers(0, 999), st.integers(0, 999)),
)
situations = st.builds(
    ScalingSituation,
    st.just(NOW),
    st.integers(0, 12),
    demands,
    st.booleans(),
    lasts,
    fleets,
    learned,
    st.booleans(),
)


@given(policies, situations)
def test_always_within_the_users_bounds(policy, seen):
    assert policy.min <= decide(policy, seen).replicas <= policy.max


@given(policies, situations, st.integers(0, 500))
def test_more_requests_in_flight_never_mean_fewer_replicas(policy, seen, more):
    policy = replace(policy, aim=replace(policy.aim, signal=Signal.IN_FLIGHT))
    known = seen.demand
    if known.in_flight is None:
        busier = replace(seen, demand=replace(known, at_least=known.at_least + more))
    else:
        busier = replace(seen, demand=replace(known, in_flight=known.in_flight + more))
    assert decide(policy, busier).replicas >= decide(policy, seen).replicas


@given(policies, situations)
def test_never_asks_to_look_again_in_the_past(policy, seen):
    wait = decide(policy, seen).recheck_in
    longest = max(policy.idle, seen.learned.cold_start or 0.0, COOLING_SECONDS)
    assert wait is None or 0 < wait <= longest


@given(policies, situations)
def test_unknown_demand_never_lowers_a_size_within_bounds(policy, seen):
    blind = replace(seen, demand=replace(seen.demand, in_flight=None))
    assert decide(policy, blind).replicas >= min(seen.replicas, policy.max)
