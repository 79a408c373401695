"""A job that waits for data says so."""

import pytest

from preamar.core.training.progress import Progress
from preamar.core.training.reconcile import reconcile
from tests.core.builders import a_job, a_rank, an_attempt, condition, sentence, watched


def told(ratio, attempt=1):
    job = a_job()
    words = {"attempt": attempt, "state": "Training", "step": 4, "dataWaitRatio": ratio}
    pods = (a_rank(0), a_rank(1))
    return reconcile(watched(job, jobs=(an_attempt(),), pods=pods, progress=Progress.of(words)))


@pytest.mark.parametrize(
    ("ratio", "shown", "words"),
    [
        ("0.000", "0.0000", ""),
        ("0.199", "0.1990", ""),
        ("0.200", "0.2000", "waits for data about 20 % of the time"),
        ("0.87", "0.8700", "waits for data about 90 % of the time"),
        ("7", "1.0000", "waits for data about 100 % of the time"),
        ("-1", "0.0000", ""),
    ],
)
def test_time_spent_waiting_for_data_is_told_and_named_where_it_is_much(ratio, shown, words):
    plan = told(ratio)
    assert plan.status["status"]["progress"]["dataWaitRatio"] == shown
    assert condition(plan, "Running") == ("True", "Training")
    found = sentence(plan, "Running")
    assert words in found
    assert ("waits for data" in found) == bool(words)


@pytest.mark.parametrize("ratio", [None, "nan", "much", [0.5], True])
def test_a_wait_that_is_not_known_is_not_told(ratio):
    plan = told(ratio)
    assert "dataWaitRatio" not in plan.status["status"]["progress"]
    assert "waits for data" not in sentence(plan, "Running")


def test_what_an_earlier_attempt_waited_is_not_told_of_this_one():
    assert "waits for data" not in sentence(told("0.9", attempt=7), "Running")
