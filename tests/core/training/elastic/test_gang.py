"""When some workers wait for accelerators, those that have theirs do not hold them for ever.

Holds: core/training/elastic/gang.py
"""

from json import loads

import pytest

from preamar.core.settings import Settings
from preamar.core.training.pods.desired import order_digest
from preamar.core.training.reconcile import reconcile
from preamar.protocol.labels import ORDER, RESTARTS
from tests.core.builders import a_job, a_rank, an_attempt, condition, later, sentence, watched

GPUS = {"accelerator": {"type": "GPU", "count": 1}}
NO_ROOM = "0/4 nodes are available: 4 Insufficient nvidia.com/gpu."


def waits(index, **more):
    return a_rank(index, phase="Pending", **{"unschedulable": NO_ROOM, **more})


def gang(*pods, age=601, job=None, seconds=600, **more):
    job = job or a_job(**GPUS)
    words = {ORDER: order_digest(job), RESTARTS: "0"}
    attempt = an_attempt(annotations=words, active=2, started=later(-age), **more)
    return watched(job, jobs=(attempt,), pods=pods, settings=Settings(gang_seconds=seconds))


def test_after_the_deadline_what_some_hold_is_freed_and_who_was_missing_is_told():
    plan = reconcile(gang(a_rank(0), waits(1)))
    assert [each.ref.name for each in plan.delete] == ["t-1"]
    told = plan.status["status"]["gang"]
    assert (told["incomplete"], told["attempt"]) == (1, 1)
    assert told["explanation"] == (
        f"1 of 2 workers could not start (t-1-1) within 600 s: {NO_ROOM.rstrip('.')}."
    )
    assert plan.status["status"]["restarts"] == 0
    assert condition(plan, "Running") == ("False", "GangIncomplete")


@pytest.mark.parametrize(
    "seen",
    [
        gang(a_rank(0), waits(1), age=599),
        gang(a_rank(0), a_rank(1)),
        gang(waits(0), waits(1)),
        gang(a_rank(0), waits(1), suspended=True),
        gang(
            waits(0, unschedulable="", scheduled=True), waits(1, unschedulable="", scheduled=True)
        ),
        gang(a_rank(0), a_rank(1, code=0)),
        gang(a_rank(0), waits(1), seconds=700),
    ],
    ids=[
        "before the deadline",
        "all have started",
        "nobody holds anything",
        "it waits in its queue",
        "all pull their image",
        "one is done already",
        "a longer deadline",
    ],
)
def test_a_gang_is_left_alone_while(seen):
    plan = reconcile(seen)
    assert plan.delete == ()
    assert "gang" not in plan.status["status"]


def test_a_pod_that_was_never_made_counts_as_missing():
    plan = reconcile(gang(a_rank(0)))
    assert [each.ref.name for each in plan.delete] == ["t-1"]
    assert "1 had no pod" in plan.status["status"]["gang"]["explanation"]


def test_the_deadline_is_looked_at_when_it_comes():
    assert reconcile(gang(a_rank(0), waits(1), age=400)).recheck_in == pytest.approx(200)


def test_a_second_look_at_the_same_attempt_counts_once():
    before = {
        "incomplete": 3,
        "attempt": 1,
        "at": "2026-01-01T11:59:00Z",
        "generation": 3,
        "explanation": "as told",
    }
    job = a_job(status={"attempt": 1, "gang": before}, **GPUS)
    assert reconcile(gang(a_rank(0), waits(1), job=job)).status["status"]["gang"] == before


def after(incomplete, ago, generation=3):
    gang = {
        "incomplete": incomplete,
        "attempt": 4,
        "at": later(-ago).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "generation": generation,
        "explanation": "1 of 2 workers could not start.",
    }
    return watched(a_job(status={"attempt": 4, "restarts": 1, "gang": gang}, **GPUS))


@pytest.mark.parametrize(
    ("incomplete", "pause"), [(1, 60), (2, 120), (3, 240), (5, 960), (6, 1800), (500, 1800)]
)
def test_the_next_try_waits_twice_as_long_each_time(incomplete, pause):
    plan = reconcile(after(incomplete, pause - 10))
    assert (plan.apply[1:], plan.recheck_in) == ((), 10)
    assert condition(plan, "Stalled") == ("True", "GangIncomplete")
    assert "attempt 5 follows" in sentence(plan, "Stalled")
    started = reconcile(after(incomplete, pause))
    assert started.apply[1]["metadata"]["name"] == "t-5"
    assert started.apply[1]["metadata"]["annotations"][RESTARTS] == "1"


def test_an_edit_is_tried_at_once():
    assert reconcile(after(6, 10, generation=2)).apply[1]["metadata"]["name"] == "t-5"


def test_a_complete_gang_ends_the_count():
    told = {"incomplete": 2, "attempt": 1, "at": "2026-01-01T11:00:00Z", "explanation": "x"}
    job = a_job(status={"attempt": 1, "gang": told}, **GPUS)
    plan = reconcile(gang(a_rank(0), a_rank(1), job=job, age=5))
    assert "gang" not in plan.status["status"]


def test_what_never_starts_is_given_up_in_the_end():
    job = a_job(status={"attempt": 101, "restarts": 0}, **GPUS)
    plan = reconcile(watched(job, settings=Settings(free_restarts=100)))
    assert condition(plan, "Succeeded") == ("False", "TooManyInterruptions")


def test_ranks_wait_a_little_longer_than_the_operator():
    plan = reconcile(watched(a_job(), settings=Settings(gang_seconds=120)))
    env = {
        v["name"]: v["value"]
        for v in plan.apply[1]["spec"]["template"]["spec"]["containers"][0]["env"]
    }
    assert env["PREAMAR_GANG_SECONDS"] == "180"
    assert loads(env["PREAMAR_TRAIN"])["attempt"] == 1
