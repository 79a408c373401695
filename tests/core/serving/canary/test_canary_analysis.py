"""A new revision is judged by enough of what callers got, and by nothing else.

Holds: core/serving/canary/canary_analysis.py
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preamar.core.serving.canary.canary_analysis import Judgement, judge, quantile, tail
from preamar.protocol.canary import AnswerDifferences, RevisionCounts, Trial
from preamar.protocol.histogram import BOUNDS
from preamar.protocol.sequential_test import NOTHING, grown


def side(requests, failures=0, seconds=0.01):
    bucket = next(n for n, bound in enumerate(BOUNDS) if seconds <= bound)
    took = tuple(requests - failures if n == bucket else 0 for n in range(len(BOUNDS) + 1))
    return RevisionCounts(requests, failures, took)


CASES = [
    pytest.param(side(500), side(0), 0, "TooFewRequests", id="nothing was asked of it"),
    pytest.param(side(500), side(19), 0, "TooFewRequests", id="too little was"),
    pytest.param(side(500), side(40), 21, "TooFewRequests", id="too little since the last step"),
    pytest.param(side(500), side(20), 0, "AsGood", id="enough, and it answered all"),
    pytest.param(side(500), side(4, 3), 0, "FailsMoreOften", id="it fails at once"),
    pytest.param(side(500), side(100, 2), 0, "AsGood", id="two failures are chance"),
    pytest.param(side(500, 50), side(100, 12), 0, "AsGood", id="the old one fails as often"),
    pytest.param(side(500, 50), side(100, 40), 0, "FailsMoreOften", id="four times as often"),
    pytest.param(side(0), side(30), 0, "AsGood", id="the old one had nothing to do"),
    pytest.param(side(500), side(60, seconds=0.1), 0, "Slower", id="ten times as slow"),
    pytest.param(side(500), side(60, seconds=0.012), 0, "AsGood", id="a little slower"),
    pytest.param(side(500, seconds=0.001), side(60, seconds=0.004), 0, "AsGood", id="by less than 5 ms"),
    pytest.param(side(500), side(49, seconds=0.1), 0, "AsGood", id="too few were timed"),
    pytest.param(side(5), side(60, seconds=0.1), 0, "AsGood", id="nobody knows how fast the old one was"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "since", "judgement"), CASES)
def test_judgement(old, new, since, judgement):
    found = judge(Trial("r", old, new), since)
    assert found.judgement == judgement
    assert found.sentence.endswith(".")
    assert found.worse == (judgement in {"FailsMoreOften", "Slower"})


def apart(count, difference):
    bets = NOTHING
    for _ in range(count):
        bets = grown(bets, difference)
    return AnswerDifferences(count, count * difference, bets)


COMPARED = [
    pytest.param(side(60), apart(30, 3.0), 0.01, False, "AnswersDiffer", id="three times too far"),
    pytest.param(side(2), apart(30, 3.0), 0.01, True, "AnswersDiffer", id="said at once"),
    pytest.param(side(60), apart(30, 3.0), None, False, "AsGood", id="of other models"),
    pytest.param(side(60), apart(30, 0.9), 0.01, True, "AsGood", id="near enough"),
    pytest.param(side(60), apart(30, 1.02), 0.01, True, "AsGood", id="too far by chance, maybe"),
    pytest.param(side(60), apart(19, 3.0), 0.01, True, "TooFewCompared", id="too few, and time"),
    pytest.param(side(60), apart(19, 3.0), 0.01, False, "AsGood", id="too few, and no time"),
    pytest.param(
        side(60), AnswerDifferences(), None, True, "AsGood", id="nothing is to be compared"
    ),
    pytest.param(side(60, 40), apart(30, 3.0), 0.01, True, "FailsMoreOften", id="it fails too"),
    pytest.param(side(19), AnswerDifferences(), 0.01, True, "TooFewRequests", id="nothing yet"),
]


@pytest.mark.parametrize(("new", "seen", "tolerance", "waits", "judgement"), COMPARED)
def test_judgement_by_answers(new, seen, tolerance, waits, judgement):
    found = judge(Trial("r", side(500), new, seen), 0, tolerance, waits=waits)
    assert found.judgement == judgement
    assert found.worse == (judgement in {"AnswersDiffer", "FailsMoreOften"})
    assert found.sentence.endswith(".")


def test_what_differs_is_said_in_the_measure_of_the_tolerance():
    found = judge(Trial("r", side(500), side(60), apart(30, 3.0)), 0, 0.02)
    assert "by 0.06 in the mean of 30, where 0.02 is allowed" in found.sentence
    assert "spec.optimize.tolerance" in found.sentence
    found = judge(Trial("r", side(500), side(60), apart(30, 0.5)), 0, 0.02)
    assert found.sentence.endswith("differ by 0.01 in the mean of 30, where 0.02 is allowed.")
    found = judge(Trial("r", side(500), side(60)), 0, 0.02)
    assert found.sentence.endswith("No answers could be compared.")


@given(st.integers(0, 60), st.floats(0, 20), st.floats(0, 20))
def test_answers_further_apart_never_make_it_better(count, near, more):
    trials = [Trial("r", side(50), side(50), apart(count, near + m)) for m in (0, more)]
    found = [judge(trial, 0, 0.01).worse for trial in trials]
    assert found[0] <= found[1]


counts = st.integers(0, 3000)


@given(counts, counts, counts, counts)
def test_more_failures_never_make_it_better(old, old_failed, new, failed):
    old_side = side(max(old, old_failed), old_failed)
    found = [judge(Trial("r", old_side, side(max(new, f), f)), 0) for f in (failed, failed + 1)]
    if max(new, failed) == max(new, failed + 1) and found[0].judgement == Judgement.FAILS:
        assert found[1].judgement == Judgement.FAILS


@given(st.integers(0, 1000), st.integers(0, 1000), st.floats(0.01, 0.99))
def test_the_tail_is_a_chance_and_falls(requests, failures, rate):
    chances = [tail(n, requests, rate) for n in (failures, failures + 1)]
    assert 0 <= chances[1] <= chances[0] + 1e-9 <= 1 + 1e-8


@given(st.lists(st.integers(0, 50), max_size=len(BOUNDS) + 1))
def test_a_quantile_lies_where_a_tenth_is_above(took):
    found = quantile(tuple(took))
    if found is None:
        return
    above = sum(c for n, c in enumerate(took) if n > 0 and BOUNDS[n - 1] >= found)
    assert above <= 0.1 * sum(took) + max(took)


@given(st.lists(st.integers(0, 9), max_size=40), st.lists(st.integers(0, 9), max_size=40))
def test_sides_add_up(one, two):
    both = RevisionCounts(1, 2, tuple(one)).plus(RevisionCounts(3, 4, tuple(two)))
    assert (both.requests, both.failures, sum(both.took)) == (4, 6, sum(one) + sum(two))
