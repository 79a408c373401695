"""How often a failed attempt is tried again, by its class.

Holds: core/training/attempts/policy.py
"""

import pytest

from preamar.core.training.attempts.policy import FINAL, POISON, POLICIES, RetryCost, Streak
from preamar.core.training.pods.desired import order_digest
from preamar.core.training.reconcile import reconcile
from preamar.protocol.labels import ORDER, RESTARTS, STREAK
from tests.core.builders import a_job, a_rank, an_attempt, condition, later, sentence, watched


def failed(kind, step=None, **more):
    return {"outcome": "Failed", "class": kind, "explanation": "so it was", **more} | (
        {"failedStep": step} if step is not None else {}
    )


def after(words, streak="0@start", restarts=0, edited=False, status=None, **spec):
    """The plan after an attempt of which rank 1 failed with these words."""
    job = a_job(status={"attempt": 3, **(status or {})}, **spec)
    notes = {
        ORDER: "another" if edited else order_digest(job),
        RESTARTS: str(restarts),
        STREAK: streak,
    }
    last = an_attempt(3, failed=True, ended_at=later(-600), annotations=notes)
    pods = (
        a_rank(0, 3, code=1, words=failed("PeerLost"), finished=-60),
        a_rank(1, 3, code=1, words=words, finished=-55),
    )
    return reconcile(watched(job, jobs=(last,), pods=pods))


def next_attempt(plan):
    return next((m for m in plan.apply if m["kind"] == "Job"), None)


GIVEN_UP = [
    ("NonFiniteLoss", "1@417", 417, POISON),
    ("Unknown", "2@417", 417, POISON),
    ("Killed", "2@417", 417, POISON),
    ("Hung", "2@417", 417, POISON),
    ("OutOfMemory", "1@417", 417, "OutOfMemory"),
    ("OutOfMemory", "1@start", None, "OutOfMemory"),
    ("SharedMemory", "1@start", None, "SharedMemory"),
    ("DiskFull", "2@8", 8, "DiskFull"),
    ("CheckpointError", "2@8", 8, "CheckpointError"),
    ("ConfigError", "0@start", None, "ConfigError"),
    ("CheckpointTorn", "0@start", None, "CheckpointTorn"),
]


@pytest.mark.parametrize(("kind", "streak", "step", "reason"), GIVEN_UP)
def test_what_fails_too_often_at_one_place_is_given_up(kind, streak, step, reason):
    plan = after(failed(kind, step), streak)
    assert next_attempt(plan) is None
    assert condition(plan, "Succeeded") == ("False", reason)
    assert condition(plan, "Stalled") == ("True", reason)
    assert f"{kind}: so it was" in sentence(plan, "Succeeded")
    assert plan.delete == ()  # nothing of it goes


TRIED_AGAIN = [
    ("NonFiniteLoss", "0@start", 417, "1@417"),
    ("NonFiniteLoss", "1@416", 417, "1@417"),
    ("Unknown", "1@417", 417, "2@417"),
    ("Killed", "9@start", None, "10@start"),
    ("OutOfMemory", "1@416", 417, "1@417"),
    ("DiskFull", "1@8", 8, "2@8"),
    ("NeverHeardOf", "0@start", 3, "1@3"),
]


@pytest.mark.parametrize(("kind", "streak", "step", "then"), TRIED_AGAIN)
def test_what_may_pass_is_tried_again_and_the_place_is_remembered(kind, streak, step, then):
    made = next_attempt(after(failed(kind, step), streak))
    assert made["metadata"]["annotations"][STREAK] == then
    assert made["metadata"]["annotations"][RESTARTS] == "1"


def test_the_poison_step_is_named_with_its_count():
    told = sentence(after(failed("Unknown", 417), "2@417"), "Succeeded")
    assert told.startswith("Step 417 failed 3 times in a row")
    assert "checkpoints before it are kept" in told


def test_the_failure_in_status_names_step_and_count():
    plan = after(failed("NonFiniteLoss", 417))
    assert plan.status["status"]["failure"] == {
        "class": "NonFiniteLoss",
        "rank": 1,
        "explanation": "so it was",
        "step": 417,
        "times": 1,
    }


def test_a_free_ending_keeps_the_streak_and_a_lost_job_takes_it_from_status():
    job = a_job(status={"attempt": 3})
    last = an_attempt(3, failed=True, ended_at=later(-600), annotations={STREAK: "2@417"})
    pods = (a_rank(0, 3, code=75, words={"outcome": "Stopped"}),)
    made = next_attempt(reconcile(watched(job, jobs=(last,), pods=pods)))
    assert made["metadata"]["annotations"][STREAK] == "2@417"
    gone = a_job(status={"attempt": 3, "failure": {"class": "Unknown", "step": 417, "times": 2}})
    made = next_attempt(reconcile(watched(gone)))
    assert made["metadata"]["annotations"][STREAK] == "2@417"


def test_an_edit_after_a_poison_step_is_one_more_try():
    assert next_attempt(after(failed("Unknown", 417), "2@417", edited=True)) is not None


def test_poison_is_told_rather_than_the_limit_that_it_reached_too():
    plan = after(failed("NonFiniteLoss", 417), "1@417", restarts=5)
    assert condition(plan, "Succeeded") == ("False", POISON)


def test_a_rank_that_hangs_is_believed_before_one_that_waited_for_it():
    job = a_job(status={"attempt": 3})
    last = an_attempt(3, failed=True, ended_at=later(-5), annotations={})
    pods = (
        a_rank(0, 3, code=1, words=failed("Hung", 9, waits=True, rank=0), finished=-60),
        a_rank(1, 3, code=1, words=failed("Hung", 9, rank=1), finished=-50),
    )
    plan = reconcile(watched(job, jobs=(last,), pods=pods))
    assert plan.status["status"]["failure"]["rank"] == 1


def test_the_users_errors_are_final_and_nobodys_are_free():
    assert {"ConfigError", "DataError", "CheckpointTorn"} == FINAL
    free = {kind for kind, row in POLICIES.items() if row.turn == RetryCost.FREE}
    assert free == {"Stopped", "PodLost", "PeerLost"}


@pytest.mark.parametrize("text", ["", "x@3", "2", "@", "-1@4"])
def test_words_that_are_no_streak_are_none(text):
    assert Streak.parse(text) in {Streak(), Streak(2)}
