"""Who bets that a mean is above 1 wins where it is, and hardly ever where it is not.

Holds: protocol/sequential_test.py
"""

from math import exp, isfinite, log
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preamar.protocol.sequential_test import MOST, NOTHING, STAKES, above, grown, together


def after(values, logs=NOTHING):
    for x in values:
        logs = grown(logs, x)
    return logs


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_a_bet_is_fair_or_worse_where_the_mean_is_one_or_less(values):
    bounded = [min(x, MOST) for x in values]
    mean = sum(bounded) / len(bounded)
    for n in range(len(STAKES)):
        growth = sum(exp(grown(NOTHING, x)[n]) for x in values) / len(values)
        assert (growth <= 1 + 1e-9) == (mean <= 1 + 1e-9) or abs(mean - 1) < 1e-6


def test_chance_hardly_ever_wins_however_often_one_looks():
    lots = Random(7)
    draws = [
        lambda: lots.expovariate(1),
        lambda: 1.05 * (lots.random() < 0.952),
        lambda: 40.0 * (lots.random() < 0.025),
    ]
    wrong = 0
    for run in range(900):
        logs, draw = NOTHING, draws[run % 3]
        for _ in range(200):
            logs = grown(logs, draw())
            if above(logs, 0.001):
                wrong += 1
                break
    assert wrong <= 4  # 0.9 on average at most


@pytest.mark.parametrize(
    ("values", "wins"),
    [
        ([10.0] * 20, True),
        ([2.0] * 25, True),
        ([1.5] * 40, True),
        ([1.1] * 30, False),
        ([0.9] * 5000, False),
        (([0.0] * 19 + [100.0]) * 20, True),
        ([float("inf")] * 5, True),
        ([], False),
    ],
)
def test_it_wins_the_sooner_the_further_the_mean_is_above(values, wins):
    assert above(after(values), 0.001) == wins


@given(st.lists(st.floats(0, 1e9), max_size=40), st.lists(st.floats(0, 1e9), max_size=40))
def test_fortunes_of_several_are_as_one_that_saw_it_all(one, other):
    both = together(after(one), after(other))
    assert both == pytest.approx(after([*one, *other]), abs=1e-9)
    assert all(isfinite(each) for each in both)


def test_a_fortune_beyond_any_float_is_one_all_the_same():
    assert above(after([1000.0] * 10_000), 0.001)
    assert not above(after([0.0] * 10_000), 0.001)
    assert not above(NOTHING, exp(log(0.9)))
