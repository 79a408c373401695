"""Which size keeps the goal at the least cost, and when is standing still cheaper?

Holds: core/serving/sizing/queueing.py, core/serving/sizing/sizing.py,
core/serving/sizing/static_size.py
"""

import random
from dataclasses import replace
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preamar.core.serving.sizing.queueing import late_starts
from preamar.core.serving.sizing.sizing import Goal, Standing, cheapest
from preamar.core.serving.sizing.static_size import habit
from tests.hunting import examples

GOAL = Goal(wait=8.0, service=2.0, slots=4, cold_start=30.0)


def late_one_by_one(before, waiting, coming, serves, wait):
    """The same count, request by request: slow, and nothing in common with the fluid."""
    line = [-age for age, count in enumerate(reversed(before), start=1) for _ in range(count)]
    line = sorted(line)[len(line) - waiting :]
    late = 0
    for second, count in enumerate(coming):
        line += [second] * count
        begun, line = line[: serves[second]], line[serves[second] :]
        late += sum(second - since > wait for since in begun)
    return late + sum(len(coming) - since > wait for since in line)


counts = st.lists(st.integers(0, 9), min_size=1, max_size=40)


@given(counts, st.data(), st.integers(0, 12))
def test_late_starts_are_those_of_a_line_served_one_by_one(before, data, wait):
    waiting = data.draw(st.integers(0, sum(before[-wait:]) if wait else 0))
    coming = data.draw(counts)
    serves = data.draw(st.lists(st.integers(0, 9), min_size=len(coming), max_size=len(coming)))
    late, _ = late_starts(before, waiting, coming, [float(s) for s in serves], wait)
    assert late == late_one_by_one(before, waiting, coming, serves, wait)


@pytest.mark.parametrize(
    ("rate", "size"),
    [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (8, 4), (20, 10)],
)
def test_a_steady_load_gets_just_enough(rate, size):
    """Each replica begins two requests a second."""
    standing = Standing(size, size, (), 0)
    assert cheapest(GOAL, standing, [rate] * 90, 20) == size


def test_a_burst_that_the_queue_absorbs_asks_for_nothing():
    arrivals = [2] * 60 + [12] + [2] * 20
    assert cheapest(GOAL, Standing(2, 2, (), 8), arrivals, 20) == 2


def test_a_queue_beyond_help_still_gets_replicas():
    """Everybody in it is late whatever is done; without pressure nothing would be ordered."""
    assert cheapest(GOAL, Standing(1, 1, (), 2000), [40] * 60, 20) >= 10


def test_those_that_start_are_not_ordered_twice():
    waiting = Standing(4, 1, (5.0, 5.0, 5.0), 20)
    again = replace(waiting, starting=(1.0, 1.0, 1.0))
    assert cheapest(GOAL, waiting, [8] * 60, 20) <= 6
    assert cheapest(GOAL, again, [8] * 60, 20) <= cheapest(GOAL, waiting, [8] * 60, 20)


@examples(40, 5000)
@given(
    st.builds(
        Goal, st.floats(0, 100), st.floats(0.001, 100), st.integers(1, 64).map(float),
        st.floats(0, 120),
    ),
    st.builds(
        Standing, st.integers(0, 30), st.integers(0, 30),
        st.lists(st.floats(0, 300), max_size=5).map(tuple), st.integers(0, 5000),
    ),
    st.lists(st.integers(0, 1000), min_size=1, max_size=120),
    st.integers(1, 20),
)  # fmt: skip
def test_no_input_makes_it_throw_or_leave_its_bounds(goal, standing, arrivals, most):
    assert 1 <= cheapest(goal, standing, arrivals, most) <= most


def bursts(seed, seconds, every, size):
    rng = random.Random(seed)
    counts = [0] * seconds
    for _ in range(seconds // every):
        counts[rng.randrange(seconds)] += size
    return counts


def test_bursts_shorter_than_a_start_become_a_habit():
    seen = bursts(1, 1800, 120, 150)
    found = habit(GOAL, seen, 20)
    assert found is not None
    assert 6 <= found.size <= 10
    assert found.holds(seen[-300:], found.queue, GOAL)
    assert not found.holds([found.crest + 1], 0, GOAL)
    assert not found.holds([0], found.queue + 1, GOAL)


def test_a_load_that_can_be_followed_is_no_habit():
    """Ten minutes of much and ten of little, in turn."""
    seen = [8 if (second // 600) % 2 else 2 for second in range(1800)]
    assert habit(GOAL, seen, 20) is None


@pytest.mark.parametrize("seen", [[], [3] * 299, [0] * 1800])
def test_too_little_known_is_no_habit(seen):
    assert habit(GOAL, seen, 20) is None


def test_a_steady_load_is_followed_as_well_as_kept():
    rng = random.Random(3)
    seen = [sum(rng.random() < 0.5 for _ in range(10)) for _ in range(1800)]
    assert habit(GOAL, seen, 20) is None
    assert cheapest(GOAL, Standing(3, 3, (), 0), seen, 20) == ceil(5 / GOAL.rate)
