"""How many replicas, and why: a sentence a rule, whole decisions compared."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preamar.core.serving.observe import Demand
from preamar.core.serving.scaling import Decision, Policy, Reason, Situation, decide
from tests.core.builders import NOW, later

POLICY = Policy(min=0, max=4, target=Decimal(8), idle=60, cooling=30)


def situation(replicas, in_flight, *, last=None, loaded=True, at_least=0):
    return Situation(NOW, replicas, Demand(in_flight, at_least), loaded, last)


def low_since(seconds, replicas, wanted, reason=Reason.COOLING):
    return Decision(replicas, reason, wanted, later(-seconds))


CASES = [
    pytest.param(POLICY, situation(1, 9), Decision(2, Reason.DEMAND, 2, NOW), id="demand above one replica's target asks for a second"),
    pytest.param(POLICY, situation(0, 20), Decision(3, Reason.DEMAND, 3, NOW), id="wakes from zero at once, sized to the queue"),
    pytest.param(POLICY, situation(1, 900), Decision(4, Reason.CEILING, 4, NOW), id="never more than max"),
    pytest.param(replace(POLICY, min=2), situation(1, 0), Decision(2, Reason.FLOOR, 2, NOW), id="never less than min"),
    pytest.param(replace(POLICY, min=2, max=2), situation(3, 0, last=low_since(0, 3, 2)), Decision(2, Reason.CEILING, 2, NOW), id="a lowered max is obeyed without cooling"),
    pytest.param(POLICY, situation(3, None), Decision(3, Reason.BLIND, 3, NOW), id="no report is not an empty queue"),
    pytest.param(POLICY, situation(1, None, at_least=20), Decision(3, Reason.DEMAND, 3, NOW), id="partial knowledge may raise the size"),
    pytest.param(POLICY, situation(3, None, at_least=1), Decision(3, Reason.BLIND, 3, NOW), id="partial knowledge never lowers the size"),
    pytest.param(POLICY, situation(4, 9), Decision(4, Reason.COOLING, 2, NOW, 30.0), id="lower demand starts to cool"),
    pytest.param(POLICY, situation(4, 1, last=low_since(20, 4, 3)), Decision(4, Reason.COOLING, 3, later(-20), 10.0), id="cooling remembers the most that was wanted"),
    pytest.param(POLICY, situation(4, 1, last=low_since(30, 4, 3)), Decision(3, Reason.DEMAND, 3, NOW), id="shrinks to the most of a whole window"),
    pytest.param(POLICY, situation(4, 0, last=low_since(30, 4, 0)), Decision(1, Reason.IDLE, 0, later(-30), 30.0), id="an idle model keeps one replica until it has idled enough"),
    pytest.param(POLICY, situation(1, 0, last=low_since(30, 1, 0, Reason.IDLE)), Decision(1, Reason.IDLE, 0, later(-30), 30.0), id="the last replica waits for idleSeconds"),
    pytest.param(POLICY, situation(1, 0, last=low_since(60, 1, 0, Reason.IDLE)), Decision(0, Reason.DEMAND, 0, NOW), id="sleeps after idleSeconds"),
    pytest.param(POLICY, situation(1, 0, last=low_since(60, 1, 0, Reason.IDLE), loaded=False), Decision(1, Reason.FIRST_LOAD, 0, NOW), id="a model that never loaded is not put to sleep"),
    pytest.param(POLICY, situation(0, 0, loaded=False), Decision(1, Reason.FIRST_LOAD, 0, NOW), id="a changed model is loaded once before it sleeps again"),
    pytest.param(POLICY, situation(1, 0, last=low_since(60, 2, 0, Reason.IDLE)), Decision(1, Reason.IDLE, 0, NOW, 60.0), id="what was decided for another size is not counted"),
    pytest.param(POLICY, situation(1, 0, last=Decision(1, Reason.BLIND, 1, later(-600))), Decision(1, Reason.IDLE, 0, NOW, 60.0), id="time spent blind is not idle time"),
    pytest.param(POLICY, situation(1, 0, last=Decision(1, Reason.IDLE, 0, later(50))), Decision(1, Reason.IDLE, 0, NOW, 60.0), id="a clock that went backwards waits one window at most"),
]  # fmt: skip


@pytest.mark.parametrize(("policy", "seen", "expected"), CASES)
def test_size(policy, seen, expected):
    assert decide(policy, seen) == expected


policies = st.builds(
    lambda low, more, target, idle: Policy(low, low + more, target, idle),
    st.integers(0, 5),
    st.integers(1, 8),
    st.decimals("0.001", 100, places=3),
    st.integers(0, 600),
)
lasts = st.none() | st.builds(
    Decision,
    st.integers(0, 12),
    st.sampled_from(Reason),
    st.integers(0, 12),
    st.integers(-1000, 1000).map(later),
)
flights = st.none() | st.integers(0, 10_000)
situations = st.builds(
    lambda replicas, in_flight, least, loaded, last: Situation(
        NOW, replicas, Demand(in_flight, least), loaded, last
    ),
    st.integers(0, 12),
    flights,
    st.integers(0, 100),
    st.booleans(),
    lasts,
)


@given(policies, situations)
def test_always_within_the_users_bounds(policy, seen):
    assert policy.min <= decide(policy, seen).replicas <= policy.max


@given(policies, situations, st.integers(0, 500))
def test_more_demand_never_means_fewer_replicas(policy, seen, more):
    if seen.demand.in_flight is None:
        busier = replace(seen, demand=Demand(None, seen.demand.at_least + more))
    else:
        busier = replace(seen, demand=Demand(seen.demand.in_flight + more))
    assert decide(policy, busier).replicas >= decide(policy, seen).replicas


@given(policies, situations)
def test_never_asks_to_look_again_in_the_past(policy, seen):
    wait = decide(policy, seen).recheck_in
    assert wait is None or 0 < wait <= max(policy.idle, policy.cooling)
