"""A replica of several pods: what is made for it, and what becomes of one that is not whole.

Holds: core/serving/pods/group.py, core/serving/groups/gang.py, core/serving/groups/members.py
"""

from datetime import timedelta

import pytest

from preamar.core.serving.pods.group import key_of, workers_ref
from preamar.core.serving.reconcile import reconcile
from preamar.protocol.labels import GROUP_LABEL, MEMBER_LABEL, SERVICE_LABEL, WORK_LABEL
from tests.core.builders import NOW, a_pod, a_service, condition, later, seen

TWO = {"parallelism": {"nodes": 2, "pipeline": 2}}


def a_worker(service, leader, **more):
    pod = a_pod(service, name=f"w-{leader.name}", **more)
    return replaced(pod, labels={**pod.labels, GROUP_LABEL: key_of(leader.uid)})


def replaced(pod, **more):
    from dataclasses import replace

    return replace(pod, **more)


def kinds(plan):
    return {(m["kind"], m["metadata"]["name"]): m for m in plan.apply}


def test_each_leader_gets_workers_that_go_with_it():
    service = a_service(replicas=2, **TWO)
    leaders = tuple(a_pod(service, name=n, phase="Running") for n in ("a", "b"))
    found = kinds(reconcile(seen(service, pods=leaders)))
    assert found["Deployment", "m-serve"]["spec"]["replicas"] == 2
    for leader in leaders:
        made = found["StatefulSet", workers_ref(service, leader.uid).name]
        owner = made["metadata"]["ownerReferences"][0]
        assert (owner["kind"], owner["uid"], owner["controller"]) == ("Pod", leader.uid, True)
        assert made["spec"]["replicas"] == 1
        labels = made["spec"]["template"]["metadata"]["labels"]
        assert SERVICE_LABEL not in labels
        assert labels[MEMBER_LABEL] == labels[WORK_LABEL] == "m"
    assert found["Service", "m-group"]["spec"]["publishNotReadyAddresses"]
    assert found["PodDisruptionBudget", "m-serve"]["spec"]["selector"]["matchLabels"] == {
        MEMBER_LABEL: "m"
    }


def test_a_leader_of_another_revision_gets_no_workers_of_this_one():
    old = a_service(**TWO, model={"uri": "pvc://models/old"})
    service = a_service(**TWO)
    plan = reconcile(seen(service, pods=(a_pod(old, phase="Running"),)))
    assert not [kind for kind, _ in kinds(plan) if kind == "StatefulSet"]


def test_one_pod_replicas_are_what_they_were():
    found = kinds(reconcile(seen(a_service(), pods=(a_pod(a_service()),))))
    assert {kind for kind, _ in found} == {"Deployment", "Service", "PodDisruptionBudget"}
    template = found["Deployment", "m-serve"]["spec"]["template"]
    assert MEMBER_LABEL not in template["metadata"]["labels"]
    assert "PREAMAR_GROUP" not in str(template["spec"])


def incomplete(service, age, **more):
    leader = a_pod(service, name="a", phase="Running", created=later(-age))
    worker = a_worker(service, leader, created=later(-age), unschedulable="no GPU")
    return seen(service, pods=(leader,), workers=(worker,), **more)


@pytest.mark.parametrize(("age", "replicas"), [(599, 1), (601, 0)])
def test_a_replica_that_is_not_whole_in_time_is_freed(age, replicas):
    plan = reconcile(incomplete(a_service(**TWO, scaling={"mode": "Fixed"}), age))
    assert kinds(plan)["Deployment", "m-serve"]["spec"]["replicas"] == replicas
    if not replicas:
        assert condition(plan, "Stalled") == ("True", "GroupIncomplete")
        assert "no GPU" in plan.status["status"]["groups"]["message"]


def test_one_more_is_tried_after_the_pause_and_an_edit_forgets_it():
    service = a_service(**TWO, replicas=3, scaling={"mode": "Fixed"})
    told = reconcile(incomplete(service, 601)).status["status"]["groups"]
    again = a_service(**TWO, replicas=3, scaling={"mode": "Fixed"}, status={"groups": told})
    sizes = []
    for seconds in (59, 61):
        plan = reconcile(seen(again, now=NOW + timedelta(seconds=seconds)))
        sizes.append(kinds(plan)["Deployment", "m-serve"]["spec"]["replicas"])
    assert sizes == [0, 1]
    edited = a_service(
        **TWO, replicas=3, scaling={"mode": "Fixed"}, status={"groups": told}, drain={"seconds": 9}
    )
    assert kinds(reconcile(seen(edited)))["Deployment", "m-serve"]["spec"]["replicas"] == 3
