"""A new revision is tried on some requests, and then serves all or none, by itself.

Holds: core/serving/artifact/rollout.py
"""

import pytest

from preamar.core.objects import Child, ClaimView
from preamar.core.plan import Ref
from preamar.core.pods import ContainerView, Ended
from preamar.core.serving.model.previous_spec import made_of
from preamar.core.serving.observe import DeploymentView
from preamar.core.serving.pods.desired import revision_of
from preamar.core.serving.reconcile import reconcile
from preamar.protocol.canary import AnswerDifferences, RevisionCounts, Trial
from preamar.protocol.demand import Demand
from preamar.protocol.histogram import BOUNDS
from tests.core.builders import a_pod, a_service, condition, later, seen, sentence

STEPS = {"percent": 20, "intervalSeconds": 60, "steps": 3}
CANARY = {"rollout": {"strategy": "Canary", "canary": STEPS}}
OLD = a_service(replicas=2, **CANARY)
NEW = {"model": {"uri": "pvc://models/two"}, **CANARY}
CLAIMS = {"models": ClaimView("models", "Bound", ("ReadWriteMany",))}
WHERE = Ref("apps/v1", "Deployment", "demo", "m-canary")
THERE = {WHERE: Child("c", "1", "uid-m")}


def service(told=None, **more):
    status = {"revision": revision_of(OLD)} | ({"rollout": told} if told else {})
    return a_service(replicas=2, status=status, **(NEW | more))


REVISION = revision_of(service())


def told(step=1, age=0, requests=0, phase="Trying", **more):
    since = {"since": later(-age).strftime("%Y-%m-%dT%H:%M:%SZ")} if age is not None else {}
    words = {"revision": REVISION, "phase": phase, "step": step, "percent": 20 * step}
    return words | {"requests": requests, "reason": "AsGood", "message": "x."} | since | more


def counted(requests=0, failures=0, seconds=0.01):
    bucket = next(n for n, bound in enumerate(BOUNDS) if seconds <= bound)
    took = [requests - failures if n == bucket else 0 for n in range(len(BOUNDS) + 1)]
    return RevisionCounts(requests, failures, tuple(took))


def trying(status=None, new=None, ready=True, canaries=None, edit=None, apart=None, **more):
    subject = service(status, **(edit or {}))
    revision = revision_of(subject)
    trial = Trial(revision, counted(500), new or counted(), apart or AnswerDifferences())
    deployment = DeploymentView("d", "1", made_of=made_of(OLD), revision=revision_of(OLD),
                                wanted=2, replicas=2, updated=2, ready=2)  # fmt: skip
    one = a_pod(subject, name="m-canary-1", ready=ready, labels={"preamar.dev/revision": revision})
    parts = {
        "claims": CLAIMS,
        "deployment": deployment,
        "pods": tuple(a_pod(OLD, name=f"p{n}", ready=True) for n in range(2)),
        "canaries": (one,) if canaries is None else canaries,
        "demand": Demand(9, trials=(trial,)),
        "children": THERE,
        **more,
    }
    return reconcile(seen(subject, **parts))


def deployments(plan):
    return {m["metadata"]["name"]: m for m in plan.apply if m["kind"] == "Deployment"}


def rollout(plan):
    return plan.status["status"]["rollout"]


def test_a_new_revision_starts_beside_the_one_that_serves():
    made = deployments(trying(canaries=(), children={}))
    old, new = made["m-serve"], made["m-canary"]
    pods = [d["spec"]["template"]["metadata"]["labels"] for d in (old, new)]
    assert [p["preamar.dev/revision"] for p in pods] == [revision_of(OLD), REVISION]
    assert new["spec"]["replicas"] == 1
    assert new["spec"]["selector"]["matchLabels"]["preamar.dev/role"] == "canary"
    assert "preamar.dev/role" not in pods[0]
    plan = trying(canaries=(), children={})
    assert (rollout(plan)["phase"], rollout(plan)["percent"]) == ("Trying", 20)
    assert "since" not in rollout(plan)
    assert plan.status["status"]["revision"] == revision_of(OLD)
    assert condition(plan, "Ready") == ("True", "Serving")
    assert condition(plan, "RolledOut") == ("Unknown", "Trying")
    assert "Step 1 of 3" in sentence(plan, "RolledOut")


CASES = [
    pytest.param(told(age=None), counted(), "Trying", 1, id="its first replica is ready"),
    pytest.param(told(age=59), counted(50), "Trying", 1, id="its time is not over"),
    pytest.param(told(age=61), counted(19), "Trying", 1, id="it had too few requests"),
    pytest.param(told(age=61), counted(20), "Trying", 2, id="the next step"),
    pytest.param(told(2, 61, 20), counted(30), "Trying", 2, id="too few since the step"),
    pytest.param(told(3, 61, 40), counted(60), "Promoted", 3, id="after the last step"),
    pytest.param(told(age=5), counted(5, 4), "RolledBack", 1, id="failures end it at once"),
    pytest.param(told(3, 61, 40), counted(60, seconds=0.1), "RolledBack", 3, id="so does slowness"),
    pytest.param(told(age=5), counted(60, seconds=0.1), "Trying", 1, id="slowness is given time"),
    pytest.param(told(phase="RolledBack"), counted(50), "RolledBack", 1, id="once back it stays"),
]


@pytest.mark.parametrize(("status", "new", "phase", "step"), CASES)
def test_what_becomes_of_it(status, new, phase, step):
    found = trying(status, new)
    body = found.status["status"]["rollout"] if found.status else status
    assert (body["phase"], body["step"]) == (phase, step)
    made = deployments(found)
    serves = made["m-serve"]["spec"]["template"]["metadata"]["labels"]["preamar.dev/revision"]
    assert serves == (REVISION if phase == "Promoted" else revision_of(OLD))
    assert ("m-canary" in made) == (phase == "Trying")
    assert [d.ref for d in found.delete] == ([WHERE] if phase == "RolledBack" else [])


OTHERWISE_MADE = {
    "model": {"uri": "pvc://models/one"},
    "runtime": {"instances": 2},
    "optimize": {"tolerance": "0.02"},
}
SAME = revision_of(service(**OTHERWISE_MADE))
FAR = AnswerDifferences(20, 60.0, (20 * 0.69, 20 * 0.095))
NEAR = AnswerDifferences(20, 10.0, (-5.0, -0.5))


def compared(step, age, apart, new=50, **more):
    status = told(step, age, 0, **{"revision": SAME} | more)
    found = trying(status, counted(new), edit=OTHERWISE_MADE, apart=apart)
    return found.status["status"]["rollout"] if found.status else status


SEEN = [
    pytest.param(1, 5, FAR, "RolledBack", 1, id="it answers otherwise, told at once"),
    pytest.param(3, 5, FAR, "RolledBack", 3, id="at any step"),
    pytest.param(1, 61, NEAR, "Trying", 2, id="near enough"),
    pytest.param(1, 61, AnswerDifferences(), "Trying", 1, id="a little patience for comparisons"),
    pytest.param(1, 181, AnswerDifferences(), "Trying", 2, id="but no more"),
    pytest.param(2, 61, AnswerDifferences(), "Trying", 3, id="and only in the first step"),
    pytest.param(
        3, 61, AnswerDifferences(), "Promoted", 3, id="what cannot be compared is promoted"
    ),
]


@pytest.mark.parametrize(("step", "age", "apart", "phase", "after"), SEEN)
def test_what_becomes_of_one_whose_answers_are_compared(step, age, apart, phase, after):
    found = compared(step, age, apart)
    assert (found["phase"], found["step"]) == (phase, after)
    if phase == "RolledBack":
        assert (found["reason"], "tolerance" in found) == ("AnswersDiffer", False)
        assert "by 0.06 in the mean of 20, where 0.02 is allowed" in found["message"]


def test_gateways_are_told_how_far_answers_may_be_apart_and_for_other_models_nothing():
    assert compared(1, 5, AnswerDifferences())["tolerance"] == "0.02"
    assert "tolerance" not in compared(3, 61, NEAR)
    assert "tolerance" not in rollout(trying(told(age=None), canaries=()))
    assert rollout(trying(told(age=61), counted(50), apart=FAR))["step"] == 2


def test_requests_that_come_while_it_is_tried_are_no_news():
    first = trying(told(age=5, reason="Comparing"), counted(5)).status
    second = trying(told(age=5, reason="Comparing"), counted(17)).status
    assert first["status"]["rollout"] == second["status"]["rollout"]
    assert first["status"]["conditions"] == second["status"]["conditions"]


def test_a_rolled_back_revision_says_why_with_figures():
    plan = trying(told(age=5), counted(5, 4))
    assert condition(plan, "RolledOut") == ("False", "FailsMoreOften")
    assert "4 of 5 requests" in sentence(plan, "RolledOut")
    assert condition(plan, "Ready") == ("True", "Serving")


def test_one_that_does_not_come_up_is_rolled_back_and_one_without_a_node_waits():
    ended = ContainerView(
        "model", init=True, ended=Ended(64, message='{"reason": "ModelInvalid", "message": "No."}')
    )
    labels = {"preamar.dev/revision": REVISION}
    bad = a_pod(OLD, ended, name="m-canary-1", labels=labels)
    plan = trying(told(age=None), canaries=(bad,))
    assert condition(plan, "RolledOut") == ("False", "ModelInvalid")
    lonely = a_pod(OLD, name="m-canary-1", phase="Pending", unschedulable="no GPU", labels=labels,
                   created=later(-900))  # fmt: skip
    plan = trying(told(age=None), canaries=(lonely,))
    assert rollout(plan)["phase"] == "Trying"
    assert "since" not in rollout(plan)


def test_after_the_promotion_the_trial_stays_until_all_are_replaced():
    promoted = told(3, 61, 40, phase="Promoted")
    subject = service(promoted)
    rolling = DeploymentView("d", "1", made_of=made_of(subject), revision=REVISION,
                             replicas=3, updated=1, ready=2)  # fmt: skip
    assert trying(promoted, deployment=rolling).delete == ()
    done = DeploymentView("d", "1", made_of=made_of(subject), revision=REVISION,
                          replicas=2, updated=2, ready=2)  # fmt: skip
    plan = trying(promoted, deployment=done)
    assert [d.ref for d in plan.delete] == [WHERE]
    assert condition(plan, "RolledOut")[0] == "True"


def test_who_takes_his_edit_back_has_the_trial_gone_at_once():
    old = a_service(
        replicas=2, status={"revision": revision_of(OLD), "rollout": told(2, 10)}, **CANARY
    )
    deployment = DeploymentView("d", "1", made_of=made_of(OLD), revision=revision_of(OLD))
    plan = reconcile(seen(old, claims=CLAIMS, deployment=deployment, children=THERE))
    assert [d.ref for d in plan.delete] == [WHERE]
    assert "rollout" not in plan.status["status"]
    assert set(deployments(plan)) == {"m-serve"}


def test_another_edit_is_another_trial():
    other = a_service(
        replicas=2,
        status={"revision": revision_of(OLD), "rollout": told(3, 61, 40)},
        model={"uri": "pvc://models/three"},
        **CANARY,
    )
    deployment = DeploymentView("d", "1", made_of=made_of(OLD), revision=revision_of(OLD))
    plan = reconcile(seen(other, claims=CLAIMS, deployment=deployment, children=THERE))
    assert (rollout(plan)["revision"], rollout(plan)["step"]) == (revision_of(other), 1)


def test_a_first_revision_and_one_that_never_loaded_are_not_tried():
    plan = reconcile(seen(a_service(**CANARY), claims=CLAIMS))
    assert set(deployments(plan)) == {"m-serve"}
    assert condition(plan, "RolledOut") == ("True", "Current")
    deployment = DeploymentView("d", "1", made_of=made_of(OLD), revision=revision_of(OLD))
    plan = reconcile(seen(a_service(**NEW), claims=CLAIMS, deployment=deployment))
    serves = deployments(plan)["m-serve"]["spec"]["template"]["metadata"]["labels"]
    assert serves["preamar.dev/revision"] == revision_of(a_service(**NEW))


def test_while_the_old_one_sleeps_so_does_the_new_one():
    asleep = a_service(
        replicas=0, status={"revision": revision_of(OLD), "rollout": told(2, 600, 20)}, **NEW
    )
    deployment = DeploymentView("d", "1", made_of=made_of(OLD), revision=revision_of(OLD))
    plan = reconcile(
        seen(asleep, claims=CLAIMS, deployment=deployment, children=THERE, demand=Demand(0))
    )
    assert deployments(plan)["m-canary"]["spec"]["replicas"] == 0
    assert condition(plan, "Ready") == ("True", "Asleep")


def test_rolling_is_as_it_was():
    deployment = DeploymentView("d", "1", made_of=made_of(OLD), revision=revision_of(OLD))
    plan = reconcile(
        seen(a_service(model={"uri": "pvc://models/two"}), claims=CLAIMS, deployment=deployment)
    )
    assert set(deployments(plan)) == {"m-serve"}
    assert "rollout" not in plan.status["status"]
    kinds = {c["type"] for c in plan.status["status"]["conditions"]}
    assert "RolledOut" not in kinds
