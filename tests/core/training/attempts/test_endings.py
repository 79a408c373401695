"""Whose fault it was that an attempt ended.

Holds: core/training/attempts/endings.py
"""

import pytest

from preamar.core.training.attempts.endings import Ending, ending, exits_of
from tests.core.builders import a_rank, an_attempt


def failed(kind, sentence="so it was"):
    return {"outcome": "Failed", "class": kind, "explanation": sentence}


CUT = "A rank lost its peers: one was deleted or cut off from the network."
STOPPED = {"outcome": "Stopped", "step": 5}
CASES = [
    pytest.param([a_rank(0, code=1, words=failed("PeerLost"), finished=-60), a_rank(1, code=137, finished=-50)], Ending("Killed", "Pod t-1-1 ended with exit code 137.", 1), id="a peer that lost somebody is never the cause"),
    pytest.param([a_rank(0, code=1, words=failed("NonFiniteLoss"), finished=-60), a_rank(1, code=1, words=failed("DataError"), finished=-50)], Ending("DataError", "so it was", 1, final=True), id="the user's error is final, whoever failed first"),
    pytest.param([a_rank(0, code=137, reason="OOMKilled"), a_rank(1, code=1, words=failed("PeerLost"))], Ending("OutOfMemory", "It needs more memory than it may use: raise workers.resources.limits.memory.", 0), id="the kernel's word is taken for memory"),
    pytest.param([a_rank(0, code=75, words=STOPPED), a_rank(1, code=75, words=STOPPED)], Ending("Stopped", "The ranks were asked to stop and saved first.", free=True), id="a stop on request is free"),
    pytest.param([a_rank(0, code=1, words=failed("PeerLost"), finished=-60), a_rank(1, code=75, words=STOPPED, finished=-50)], Ending("PeerLost", CUT, 0, free=True), id="ranks that only lost a peer are nobody's fault"),
    pytest.param([a_rank(0, code=143, disrupted="EvictionByEvictionAPI"), a_rank(1, code=1, words=failed("PeerLost"))], Ending("PodLost", "Pod t-1-0 was taken away: EvictionByEvictionAPI.", 0, free=True), id="a drained node is nobody's fault"),
    pytest.param([a_rank(0, code=1, words=failed("PeerLost"))], Ending("PeerLost", CUT, 0, free=True), id="a peer whose pod is gone is nobody's fault"),
    pytest.param([a_rank(0)], Ending("PodLost", "A pod was deleted while it trained.", free=True), id="a deleted pod is nobody's fault"),
    pytest.param([a_rank(0, code=143, deleting=True)], Ending("PeerLost", CUT, 0, free=True), id="who is killed after a peer's pod was deleted is not the cause"),
    pytest.param([a_rank(0, code=143, deleting=True), a_rank(1)], Ending("Killed", "Pod t-1-0 ended with exit code 143.", 0), id="who is killed beside a peer that is there is the cause"),
    pytest.param([], Ending("Unknown", "too many"), id="without any words the Job's own are told"),
    pytest.param([a_rank(0, code=1, words='{"outcome": 7, "class": []}'), a_rank(1)], Ending("Unknown", "Pod t-1-0 ended with exit code 1.", 0), id="words that are not ours are not believed"),
]  # fmt: skip


@pytest.mark.parametrize(("pods", "expected"), CASES)
def test_ending(pods, expected):
    job = an_attempt(failed=True, message="too many")
    assert ending(job, tuple(pods), exits_of(pods)) == expected


def test_a_job_whose_pods_are_all_gone_lost_one_that_was_deleted():
    """A pod that fails by itself stays behind."""
    job = an_attempt(failed=True, message="too many", reason="BackoffLimitExceeded")
    assert ending(job, (), ()) == Ending(
        "PodLost", "A pod was deleted while it trained.", free=True
    )
