"""What keeps pods from being ready, and what a user reads of it.

Holds: core/serving/health/faults.py
"""

import pytest

from preamar.core.pods import ContainerView, Ended
from preamar.core.serving.reconcile import reconcile
from tests.core.builders import a_pod, a_service, condition, later, seen, sentence

SERVICE = a_service()
TOLD = '{"reason": "FormatUnsupported", "message": "The model is a pickle."}'


def init(**more):
    return ContainerView("model", init=True, image="triton:1", **more)


def server(**more):
    return ContainerView("triton", image="triton:1", **more)


CASES = [
    ([a_pod(SERVICE, init(ended=Ended(64, message=TOLD)))], "FormatUnsupported", "pickle"),
    ([a_pod(SERVICE, init(waiting="CrashLoopBackOff", ended_before=Ended(64, message="no json")))], "ModelInvalid", "no json"),
    ([a_pod(SERVICE, server(waiting="ImagePullBackOff", waiting_message="not found"))], "ImageUnavailable", "triton:1"),
    ([a_pod(SERVICE, server(waiting="InvalidImageName"), created=later(0))], "ImageUnavailable", "imagePullSecrets"),
    ([a_pod(SERVICE, server(waiting="CreateContainerConfigError", waiting_message='secret "x" not found'))], "ContainerConfigInvalid", 'secret "x" not found'),
    ([a_pod(SERVICE, server(waiting="CrashLoopBackOff", restarts=3, ended_before=Ended(1, "Error", "bad weights")))], "ModelCrashes", "bad weights"),
    ([a_pod(SERVICE, init(waiting="CrashLoopBackOff", restarts=3, ended_before=Ended(2, "Error", "disk")))], "ModelPreparationFails", "tried again"),
    ([a_pod(SERVICE, unschedulable="0/1 nodes: 1 Insufficient nvidia.com/gpu")], "Unschedulable", "Insufficient nvidia.com/gpu"),
    ([a_pod(SERVICE, server(restarts=3, running_since=later(-5), ended_before=Ended(1)), ready=True)], "ModelCrashes", "exit code 1"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("pods", "reason", "words"), CASES, ids=lambda c: c if isinstance(c, str) else ""
)
def test_a_fault_is_stalled_with_a_sentence_and_one_event(pods, reason, words):
    plan = reconcile(seen(SERVICE, pods=tuple(pods)))
    assert condition(plan, "Ready") == ("False", reason)
    assert condition(plan, "Stalled") == ("True", reason)
    assert words in sentence(plan, "Stalled")
    assert [(e.reason, e.type) for e in plan.events] == [(reason, "Warning")]


def test_a_pull_that_fails_for_the_first_time_is_given_a_grace():
    pod = a_pod(SERVICE, server(waiting="ErrImagePull"), created=later(-5))
    plan = reconcile(seen(SERVICE, pods=(pod,)))
    assert condition(plan, "Stalled") == ("False", "Progressing")
    assert plan.recheck_in == 10.0


def test_a_ready_replica_outweighs_the_fault_of_another():
    good = a_pod(SERVICE, server(), name="good", ready=True)
    bad = a_pod(SERVICE, server(restarts=4, ended_before=Ended(1)), name="bad")
    plan = reconcile(seen(SERVICE, pods=(good, bad)))
    assert condition(plan, "Ready") == ("True", "Serving")
    assert condition(plan, "Stalled")[0] == "False"
    assert condition(plan, "Scaled") == ("False", "ModelCrashes")


def test_a_fault_of_an_earlier_revision_is_not_told():
    old = a_pod(a_service(model={"uri": "pvc://models/old"}), server(restarts=9, ended=Ended(1)))
    assert condition(reconcile(seen(SERVICE, pods=(old,))), "Ready") == ("False", "Loading")
