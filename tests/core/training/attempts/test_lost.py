"""A node that is gone keeps nobody from going on, and one that is only slow is waited for.

Holds: core/training/attempts/lost.py
"""

import pytest

from preamar.core.pods import PodView
from preamar.core.training.attempts.lost import LOST_SECONDS
from preamar.core.training.pods.desired import order_digest
from preamar.core.training.reconcile import reconcile
from preamar.protocol.labels import ORDER
from tests.core.builders import a_job, a_rank, an_attempt, condition, later, sentence, watched

JOB = a_job(status={"attempt": 1})


def a_lost_rank(index, since=LOST_SECONDS + 5, **more):
    """Its grace period ended so many seconds ago."""
    return a_rank(index, deleting=True, delete_by=later(-since), node="n-7", **more)


def seen(*pods, **attempt):
    words = {ORDER: order_digest(JOB)}
    return watched(JOB, jobs=(an_attempt(annotations=words, **attempt),), pods=pods)


def started(plan):
    return [m["metadata"]["name"] for m in plan.apply if m["kind"] == "Job"]


PEER = a_rank(0, code=1, words={"outcome": "Failed", "class": "PeerLost", "explanation": "x"})


@pytest.mark.parametrize(
    "state",
    [{"failing": True}, {"failed": True, "ended_at": later(-50)}, {"deleting": True}],
    ids=["whose Job never says that it failed", "whose Job has failed", "whose Job is deleted"],
)
def test_the_next_attempt_starts_without_a_pod_of_a_lost_node(state):
    assert started(reconcile(seen(PEER, a_lost_rank(1), **state))) == ["t-2"]


def test_it_is_told_which_node_is_taken_for_lost_and_nobody_is_at_fault():
    plan = reconcile(seen(PEER, a_lost_rank(1, since=LOST_SECONDS), failing=True))
    assert sentence(plan, "Running").endswith(
        "The last attempt: PodLost: Pod t-1-1 on node n-7 was deleted and nobody says that it has "
        "ended: its node is taken for lost."
    )
    assert "failure" not in plan.status["status"]
    assert plan.status["status"]["restarts"] == 0


@pytest.mark.parametrize(
    ("pods", "state"),
    [
        ((PEER, a_lost_rank(1, since=LOST_SECONDS - 1)), {"failing": True}),
        ((a_rank(0), a_lost_rank(1)), {"failing": True}),
        ((a_rank(0), a_lost_rank(1)), {"failed": True}),
    ],
    ids=["in its grace", "while a peer runs", "while a peer runs and its Job has failed"],
)
def test_who_may_yet_end_in_order_is_waited_for(pods, state):
    assert started(reconcile(seen(*pods, **state))) == []


def test_an_attempt_that_trains_is_left_alone():
    plan = reconcile(seen(a_rank(0), a_rank(1)))
    assert (started(plan), plan.delete) == ([], ())
    assert condition(plan, "Running")[0] == "True"


def test_a_pod_tells_until_when_it_has_to_be_gone():
    when = {"deletionTimestamp": "2026-01-01T12:00:00Z"}
    pod = PodView.of({"metadata": {"name": "p", "uid": "u", **when}})
    assert (pod.deleting, pod.delete_by) == (True, later(0))
