"""What becomes of a model that does not fit into memory, or never comes up.

Holds: core/serving/health/fit.py, core/serving/health/fit_kept.py
"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preamar.api.inference import InferenceService
from preamar.core.plan import Event
from preamar.core.pods import ContainerView, Ended
from preamar.core.serving.facts import facts_of
from preamar.core.serving.health.fit import HALVINGS, RELEASED, fit_of
from preamar.core.serving.health.fit_kept import KeptFit, as_made
from preamar.core.serving.observe import DeploymentView
from preamar.core.serving.pods.desired import identity_of, revision_of
from preamar.core.serving.reconcile import reconcile
from preamar.core.serving.waking import wake
from preamar.core.trouble import Trouble
from preamar.protocol.demand import Demand
from tests.core.builders import NOW, a_pod, a_service, condition, later, seen, sentence

KILLED = Ended(137, "OOMKilled")
CRASHED = Ended(1, "Error", "bad weights")
REFUSED = Ended(64, "Error", '{"reason": "ModelNotFound", "message": "Nothing is there."}')


def asking(batch, **more):
    return a_service(runtime={"batching": {"maxBatchSize": batch}}, **more)


SERVICE = asking(16)


def server(end=None, restarts=1, *, loops=False, **more):
    waiting = "CrashLoopBackOff" if loops else ""
    since = None if loops else later(-5)
    parts = {"waiting": waiting, "running_since": since, "ended_before": end, **more}
    return ContainerView("triton", restarts=restarts, **parts)


def builder(end, restarts=0):
    waiting = "CrashLoopBackOff"
    return ContainerView("model", init=True, restarts=restarts, waiting=waiting, ended_before=end)


def pod(*containers, batch=None, of=SERVICE, **more):
    labels = {"preamar.dev/revision": revision_of(of)}
    labels |= {"preamar.dev/batch": str(batch)} if batch else {}
    return a_pod(of, *containers, labels=labels, **more)


def told(service, batch, *, given_up=False, reason="OutOfMemory", message="why", edition=None):
    """The service as an earlier pass has left it."""
    asked = service.spec.runtime.batching.max_batch_size
    fit = {
        "revision": revision_of(service),
        "edition": edition or identity_of(service).edition,
        "asked": asked,
        "maxBatchSize": batch,
        "attempts": KeptFit(asked, batch).halvings,
        "givenUp": given_up,
        "reason": reason,
        "message": message,
        "at": "2026-01-01T11:00:00Z",
    }
    return with_status(service, {"fit": fit})


def with_status(service, status):
    body = service.model_dump(by_alias=True, mode="json", exclude_none=True)
    return InferenceService.model_validate(
        body | {"status": (body.get("status") or {}) | dict(status)}
    )


def loaded(service):
    return with_status(service, {"revision": revision_of(service)})


def gone(reason, words):
    return Trouble(reason, f"{words} {RELEASED}")


SMALLEST = told(SERVICE, 2)
AN_HOUR_AGO = later(-3600)
TOO_SMALL = gone("OutOfMemory", "The model server needs more memory than the limit of its container with batches of 2 (once). Raise runtime.resources.limits.memory or lower runtime.batching.maxBatchSize.")  # fmt: skip
STILL_TOO_SMALL = gone("OutOfMemory", TOO_SMALL.message.partition(" (once)")[0] + " (6 times). Raise runtime.resources.limits.memory or lower runtime.batching.maxBatchSize.")  # fmt: skip
NEVER_UP = gone("ModelCrashes", "The model server ends with exit code 1 (5 times) while it loads or serves the model. It said: bad weights")  # fmt: skip
NEVER_MADE = gone("ModelPreparationFails", "Preparing the model fails with exit code 1 (5 times) and is tried again. It said: bad weights")  # fmt: skip
NOT_PREPARED = gone("OutOfMemory", "Preparing the model needs more memory than the limit of its container (once). Raise runtime.resources.limits.memory.")  # fmt: skip
NO_HALF_OF_ONE = gone("OutOfMemory", "The model server needs more memory than the limit of its container with batches of 1 (once). Raise runtime.resources.limits.memory.")  # fmt: skip
PYTHON = asking(16, model={"format": "Python", "trust": "Code"})
OWN_BATCH = gone("OutOfMemory", "The model server needs more memory than the limit of its container with batches of 16 (once). Raise runtime.resources.limits.memory or lower runtime.batching.maxBatchSize.")  # fmt: skip
OLD = a_service(model={"uri": "pvc://models/old"})
UP = {"ready": True}

FOUND = [
    pytest.param(SERVICE, [pod(server())], KeptFit(16, 16), id="what runs stays as it is"),
    pytest.param(SERVICE, [pod(server(KILLED))], KeptFit(16, 8, NOW), id="half the batch after running out of memory"),
    pytest.param(SERVICE, [pod(server(Ended(1, "Error", "std::bad_alloc")))], KeptFit(16, 8, NOW), id="also by the server's own words"),
    pytest.param(SERVICE, [pod(server(KILLED), **UP)], KeptFit(16, 8, NOW), id="also where the replica has come back"),
    pytest.param(loaded(SERVICE), [pod(server(KILLED))], KeptFit(16, 8, NOW), id="also of a model that was ready before"),
    pytest.param(SERVICE, [pod(server(KILLED), deleting=True)], KeptFit(16, 16), id="what is being deleted shows nothing"),
    pytest.param(SERVICE, [pod(server(KILLED), of=OLD)], KeptFit(16, 16), id="another revision shows nothing"),
    pytest.param(told(SERVICE, 8), [pod(server(KILLED))], KeptFit(16, 8, AN_HOUR_AGO), id="a replica of the larger batch is counted once"),
    pytest.param(told(SERVICE, 8), [pod(server(KILLED), batch=8)], KeptFit(16, 4, NOW), id="half of the half"),
    pytest.param(told(asking(3), 1), [], KeptFit(3, 1, AN_HOUR_AGO), id="what was found is remembered"),
    pytest.param(SMALLEST, [pod(server(KILLED), batch=2)], KeptFit(16, 2, NOW, TOO_SMALL), id="after three halvings it is given up"),
    pytest.param(asking(1), [pod(server(KILLED), of=asking(1))], KeptFit(1, 1, NOW, NO_HALF_OF_ONE), id="one cannot be halved"),
    pytest.param(PYTHON, [pod(server(KILLED), of=PYTHON)], KeptFit(16, 16, NOW, OWN_BATCH), id="a Python model sets its own batch"),
    pytest.param(SMALLEST, [pod(server(KILLED), batch=2), pod(server(), **UP)], KeptFit(16, 2, AN_HOUR_AGO), id="it is kept while another replica answers"),
    pytest.param(SMALLEST, [pod(server(KILLED), batch=2), pod(server(), of=OLD, **UP)], KeptFit(16, 2, AN_HOUR_AGO), id="also one of an earlier revision"),
    pytest.param(loaded(SMALLEST), [pod(server(KILLED), batch=2)], KeptFit(16, 2, AN_HOUR_AGO), id="one accident of what was ready is no proof"),
    pytest.param(loaded(SMALLEST), [pod(server(KILLED, 6, loops=True), batch=2)], KeptFit(16, 2, NOW, STILL_TOO_SMALL), id="running out again and again is, even of what was ready"),
    pytest.param(SERVICE, [pod(builder(KILLED))], KeptFit(16, 16, NOW, NOT_PREPARED), id="no batch helps to prepare the model"),
    pytest.param(SERVICE, [pod(server(CRASHED, 4, loops=True))], KeptFit(16, 16), id="four restarts are not enough"),
    pytest.param(SERVICE, [pod(server(CRASHED, 5))], KeptFit(16, 16), id="a try that is under way is waited for"),
    pytest.param(SERVICE, [pod(server(CRASHED, 5, loops=True))], KeptFit(16, 16, NOW, NEVER_UP), id="five are"),
    pytest.param(SERVICE, [pod(builder(CRASHED, 5))], KeptFit(16, 16, NOW, NEVER_MADE), id="a model that cannot be prepared too"),
    pytest.param(SERVICE, [pod(builder(REFUSED, 9))], KeptFit(16, 16), id="a model that is not there yet is waited for"),
    pytest.param(loaded(SERVICE), [pod(server(CRASHED, 99, loops=True))], KeptFit(16, 16), id="crashes of what was ready do not end it"),
    pytest.param(told(SERVICE, 2, given_up=True), [], KeptFit(16, 2, AN_HOUR_AGO, Trouble("OutOfMemory", "why")), id="what was given up stays so"),
    pytest.param(told(SERVICE, 2, given_up=True, reason="{"), [], KeptFit(16, 2, AN_HOUR_AGO, Trouble("ModelCrashes", "why")), id="also where its reason is no word of ours"),
    pytest.param(told(SERVICE, 2, given_up=True, edition="other"), [], KeptFit(16, 16), id="an edit starts anew"),
]  # fmt: skip


@pytest.mark.parametrize(("service", "pods", "fit"), FOUND)
def test_what_pods_show_decides_over_batch_and_replicas(service, pods, fit):
    assert fit_of(facts_of(seen(service, pods=tuple(pods)))) == fit


def deployment(service, wanted=1, batch=None):
    return DeploymentView("d", "5", revision=revision_of(service), wanted=wanted, batch=batch)


def test_a_batch_that_was_ordered_and_not_yet_told_is_remembered_by_the_deployment():
    assert fit_of(facts_of(seen(SERVICE, deployment=deployment(SERVICE, batch=8)))) == KeptFit(
        16, 8, NOW
    )
    assert fit_of(facts_of(seen(SERVICE, deployment=deployment(OLD, batch=8)))) == KeptFit(16, 16)


def test_replicas_that_were_ordered_away_show_nothing_new():
    pods = (pod(server(KILLED)),)
    assert fit_of(facts_of(seen(SERVICE, pods=pods, deployment=deployment(SERVICE, 0)))) == KeptFit(
        16, 16
    )


def template(plan):
    found = next(m for m in plan.apply if m["kind"] == "Deployment")
    spec = found["spec"]["template"]["spec"]
    order = json.loads(spec["initContainers"][0]["env"][0]["value"])
    labels = found["spec"]["template"]["metadata"]["labels"]
    return (
        found["spec"]["replicas"],
        order["batching"]["maxBatchSize"],
        labels.get("preamar.dev/batch"),
        labels["preamar.dev/revision"],
    )


def test_the_next_pods_get_the_smaller_batch_under_the_same_revision():
    plan = reconcile(seen(SERVICE, pods=(pod(server(KILLED)),)))
    assert template(plan) == (1, 8, "8", revision_of(SERVICE))
    words = "Batches of 8 instead of 16: with 16 a replica ran out of memory."
    assert plan.status["status"]["fit"] == {
        "revision": revision_of(SERVICE),
        "edition": identity_of(SERVICE).edition,
        "asked": 16,
        "maxBatchSize": 8,
        "attempts": 1,
        "givenUp": False,
        "reason": "OutOfMemory",
        "message": words,
        "at": "2026-01-01T12:00:00Z",
    }
    assert condition(plan, "Stalled") == ("False", "Progressing")
    assert sentence(plan, "Ready").endswith(words)
    assert plan.events == (Event("BatchHalved", words, "Warning"),)


def test_a_replica_that_runs_out_of_memory_makes_room_before_the_next_one_comes():
    found = reconcile(seen(told(SERVICE, 8))).apply[2]["spec"]["strategy"]["rollingUpdate"]
    assert found == {"maxSurge": 0, "maxUnavailable": 1}


def test_a_model_that_is_given_up_holds_nothing_and_says_what_would_help():
    plan = reconcile(seen(SMALLEST, pods=(pod(server(KILLED), batch=2),)))
    assert template(plan)[0] == 0
    assert plan.scale is None
    for kind, status in (("Ready", "False"), ("Stalled", "True"), ("ModelAvailable", "False")):
        assert condition(plan, kind) == (status, "OutOfMemory")
        assert sentence(plan, kind) == TOO_SMALL.message
    assert plan.events == (
        Event("OutOfMemory", TOO_SMALL.message, "Warning"),
        Event("ReplicasReleased", TOO_SMALL.message, "Warning"),
    )


PASSES = [
    pytest.param(SERVICE, pod(server(KILLED)), id="halved"),
    pytest.param(SMALLEST, pod(server(KILLED), batch=2), id="given up for memory"),
    pytest.param(SERVICE, pod(server(CRASHED, 5, loops=True)), id="given up for crashes"),
]


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize(("service", "that"), PASSES)
def test_a_second_pass_has_nothing_to_add(service, that, ended):
    first = reconcile(seen(service, pods=(that,)))
    after = with_status(service, first.status["status"])
    ordered = deployment(service, template(first)[0], fit_of(facts_of(seen(after))).batch)
    pods = () if ended else (that,)
    second = reconcile(seen(after, pods=pods, deployment=ordered, now=later(40)))
    assert (second.apply, second.events, second.status) == (first.apply, (), None)


def test_what_was_given_up_is_not_woken_by_demand_and_is_never_called_asleep():
    conditions = [
        {"type": kind, "status": status, "reason": "OutOfMemory", "message": "why"}
        for kind, status in (("Ready", "False"), ("Stalled", "True"))
    ]
    sleeping = loaded(told(asking(16, replicas=0), 2, given_up=True))
    service = with_status(sleeping, {"conditions": conditions, "observedGeneration": 3})
    observed = seen(service, demand=Demand(3, 3, 3))
    assert wake(observed).scale is None
    plan = reconcile(observed)
    assert template(plan)[0] == 0
    assert condition(plan, "Stalled") == ("True", "OutOfMemory")
    assert condition(reconcile(seen(service, demand=Demand(0))), "Ready")[0] == "False"


@pytest.mark.parametrize("mode", ["Managed", "External", "Fixed"])
def test_a_size_that_anybody_writes_does_not_try_again_what_was_given_up(mode):
    service = asking(16, scaling={"mode": mode})
    kept = told(service, 2, given_up=True)
    resized = kept.model_copy(update={"spec": kept.spec.model_copy(update={"replicas": 3})})
    assert template(reconcile(seen(resized)))[0] == 0


def test_an_edit_of_anything_else_tries_again_as_it_was_asked():
    given_up = told(SERVICE, 2, given_up=True)
    edited = asking(16, placement={"nodeSelector": {"gpu": "large"}})
    plan = reconcile(seen(with_status(edited, {"fit": given_up.status.fit.json_body()})))
    assert template(plan) == (1, 16, None, revision_of(SERVICE))
    assert "fit" not in plan.status["status"]
    assert condition(plan, "Stalled")[0] == "False"


def test_a_block_forgets_nothing_of_it():
    given_up = told(SERVICE, 2, given_up=True)
    plan = reconcile(seen(given_up, claims={}))
    assert condition(plan, "Stalled") == ("True", "VolumeMissing")
    assert plan.status["status"]["fit"] == given_up.status.fit.json_body()


def test_a_smaller_batch_is_told_until_the_last_of_its_replicas_is_gone():
    edited = asking(16, model={"uri": "pvc://models/two"})
    fit = {"fit": told(SERVICE, 4).status.fit.json_body()}
    serving = with_status(edited, fit)
    here = reconcile(seen(serving, pods=(pod(server(), batch=4, **UP),)))
    assert here.status["status"]["fit"] == fit["fit"]
    assert template(here)[1] == 16
    assert "fit" not in reconcile(seen(serving)).status["status"]


def test_the_size_follows_the_batch_that_replicas_have():
    service = asking(16, scaling={"target": {"signal": "QueueSeconds", "value": "3"}})
    smaller = told(service, 4)
    assert as_made(smaller).spec.runtime.batching.max_batch_size == 4
    assert as_made(service) is service
    demand = Demand(40, 40, 40)
    assert (
        reconcile(seen(smaller, demand=demand)).scale.replicas
        > reconcile(seen(service, demand=demand)).scale.replicas
    )


def test_a_sleeping_model_is_woken_at_the_size_that_its_smaller_batch_needs():
    goal = {"target": {"signal": "QueueSeconds", "value": "3"}}
    conditions = [{"type": "Stalled", "status": "False", "reason": "Progressing", "message": ""}]
    sleeping = told(loaded(asking(16, replicas=0, scaling=goal)), 4)
    service = with_status(sleeping, {"conditions": conditions, "observedGeneration": 3})
    observed = seen(service, demand=Demand(8, 8, 8))
    assert wake(observed).scale == reconcile(observed).scale
    assert wake(observed).scale.replicas == 3  # of 4 at a time, for 8 and what chance adds


def test_why_another_revision_was_given_up_is_not_told_of_this_one():
    gone_before = {"fit": told(SERVICE, 2, given_up=True).status.fit.json_body()}
    edited = with_status(asking(16, model={"uri": "pvc://models/two"}), gone_before)
    plan = reconcile(seen(edited, pods=(pod(server(KILLED), batch=2, deleting=True),)))
    assert "fit" not in plan.status["status"]


@given(asked=st.integers(1, 4096), needs=st.integers(0, 4096))
def test_it_ends_with_a_batch_that_fits_or_without_replicas(asked, needs):
    """A model that fits up to ``needs`` requests a batch: never more than three halvings, never
    below one, never a batch that was not needed."""
    service, tried = asking(asked), []
    for _ in range(HALVINGS + 2):
        plan = reconcile(seen(service))
        replicas, batch, label, _ = template(plan)
        if not replicas:
            break
        tried.append(batch)
        if batch <= needs:
            break
        failed = pod(server(KILLED), batch=label, of=service)
        plan = reconcile(seen(service, pods=(failed,)))
        service = with_status(service, plan.status["status"])
    expected = [asked >> n for n in range(HALVINGS + 1) if asked >> n]
    fits = [batch for batch in expected if batch <= needs]
    assert tried == [b for b in expected if b > needs] + fits[:1]
    assert bool(replicas) == bool(fits)
