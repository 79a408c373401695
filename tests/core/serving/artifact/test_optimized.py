"""A model is optimised before it is served, and what served before goes on meanwhile.

Holds: core/serving/artifact/artifacts.py, core/serving/artifact/optimize_job.py,
core/serving/artifact/optimized.py, core/serving/model/previous_spec.py
"""

from json import dumps, loads

import pytest

from preamar.core.objects import Child, ClaimView
from preamar.core.plan import Ref, ref_of
from preamar.core.pods import ContainerView, Ended, PodView
from preamar.core.serving.model.previous_spec import earlier, made_of
from preamar.core.serving.model.source import artefact
from preamar.core.serving.observe import DeploymentView
from preamar.core.serving.pods.desired import revision_of
from preamar.core.serving.reconcile import reconcile
from preamar.protocol.demand import Demand
from preamar.protocol.labels import MADE_OF
from tests.core.builders import a_pod, a_service, condition, later, seen, sentence

INT8 = {"optimize": {"precision": "INT8"}}
RWX = ("ReadWriteMany",)
CLAIMS = {n: ClaimView(n, "Bound", RWX) for n in ("models", "preamar-models")}
WORDS = {
    "before": {"bytes": 91, "latency": "0.012000", "latencyP99": "0.02", "throughput": "84.5", "error": "0.0"},
    "after": {"bytes": 23, "latency": "0.006000", "latencyP99": "0.01", "throughput": "160.1", "error": "0.004"},
    "layersKept": ["encoder.0"],
}  # fmt: skip


def worker(service, code=None, words=None, name="w", reason="", **more):
    message = dumps(words) if isinstance(words, dict) else (words or "")
    ended = None if code is None else Ended(code, reason, message)
    return PodView(
        name,
        name,
        annotations={"preamar.dev/works-for": artefact(service)},
        containers=(ContainerView("optimize", ended=ended),),
        **more,
    )


def kinds(plan):
    return [m["kind"] for m in plan.apply]


def job_of(plan):
    return next(m for m in plan.apply if m["kind"] == "Job")


def test_nothing_is_served_until_a_job_has_made_the_model():
    service = a_service(**INT8)
    plan = reconcile(seen(service, claims=CLAIMS))
    assert kinds(plan) == ["Job"]
    assert plan.scale is None
    assert condition(plan, "Ready") == ("False", "Optimizing")
    assert condition(plan, "Stalled") == ("False", "Progressing")
    assert condition(plan, "Optimized") == ("Unknown", "Optimizing")
    pod = job_of(plan)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    order = loads(container["env"][0]["value"])
    assert order["source"] == "/mnt/model/one"
    assert order["target"] == f"/mnt/cache/.optimized/{artefact(service)}"
    assert (order["precision"], order["tolerance"]) == ("INT8", "0.01")
    mounts = {m["name"]: m.get("readOnly", False) for m in container["volumeMounts"]}
    assert mounts == {"source": True, "cache": False, "tmp": False}
    labels = job_of(plan)["spec"]["template"]["metadata"]["labels"]
    assert "preamar.dev/inferenceservice" not in labels


def test_a_model_that_lies_elsewhere_is_fetched_by_the_job():
    service = a_service(model={"uri": "hf://o/m", "secretName": "keys"}, **INT8)
    plan = reconcile(seen(service, claims=CLAIMS))
    pod = job_of(plan)["spec"]["template"]["spec"]
    assert [v["name"] for v in pod["volumes"]] == ["cache", "credentials", "tmp"]
    order = loads(pod["containers"][0]["env"][0]["value"])
    assert order["uri"] == "hf://o/m"
    assert "source" not in order


def test_a_job_that_is_there_is_left_alone():
    service = a_service(**INT8)
    job = job_of(reconcile(seen(service, claims=CLAIMS)))
    plan = reconcile(seen(service, claims=CLAIMS, children={ref_of(job): Child("j", "1", "uid-m")}))
    assert plan.apply == ()


def test_the_artefact_is_served_and_told_and_remembered_without_the_job():
    service = a_service(**INT8)
    plan = reconcile(seen(service, claims=CLAIMS, workers=(worker(service, 0, WORDS),)))
    assert kinds(plan) == ["Service", "PodDisruptionBudget", "Deployment"]
    (model,) = plan.apply[-1]["spec"]["template"]["spec"]["initContainers"]
    order = loads(model["env"][0]["value"])
    assert order["source"] == f"/mnt/cache/.optimized/{artefact(service)}"
    assert (order["format"], order["digest"]) == ("Auto", None)
    assert {m["name"]: m.get("readOnly") for m in model["volumeMounts"]}["cache"] is True
    told = plan.status["status"]["optimization"]
    assert told == {"artefact": artefact(service), **WORDS}
    assert condition(plan, "Optimized") == ("True", "Optimized")
    assert "1 layers were kept" in sentence(plan, "Optimized")

    later = a_service(**INT8, status={"optimization": told})
    plan = reconcile(seen(later, claims=CLAIMS))
    assert "Job" not in kinds(plan)
    assert plan.status["status"]["optimization"] == told


REFUSED = {"reason": "OptimizationTooInaccurate", "message": "INT8 changes the answers by 0.3."}


def test_a_model_that_would_be_too_inaccurate_is_not_served():
    service = a_service(**INT8)
    plan = reconcile(seen(service, claims=CLAIMS, workers=(worker(service, 64, REFUSED),)))
    assert plan.apply == ()
    assert condition(plan, "Stalled") == ("True", "OptimizationTooInaccurate")
    assert sentence(plan, "Ready") == "INT8 changes the answers by 0.3."
    assert condition(plan, "Optimized") == ("False", "OptimizationTooInaccurate")


def served_before(change, workers=(), **more):
    """A service whose plain model runs, edited."""
    old = a_service(replicas=1)
    deployment = DeploymentView("d", "1", made_of=made_of(old), replicas=1, ready=1)
    pod = a_pod(old, ready=True)
    service = a_service(replicas=1, status={"revision": revision_of(old)}, **change)
    return old, seen(
        service,
        claims=CLAIMS,
        deployment=deployment,
        pods=(pod,),
        workers=tuple(workers),
        demand=Demand(17, queued=17),
        **more,
    )


@pytest.mark.parametrize("code", [None, 64])
def test_what_served_before_is_sized_and_served_until_the_new_model_is_there(code):
    workers = () if code is None else (worker(a_service(**INT8), code, REFUSED),)
    old, observed = served_before(INT8, workers)
    plan = reconcile(observed)
    deployment = next(m for m in plan.apply if m["kind"] == "Deployment")
    template = deployment["spec"]["template"]
    assert template["metadata"]["labels"]["preamar.dev/revision"] == revision_of(old)
    assert deployment["metadata"]["annotations"][MADE_OF] == made_of(old)
    assert deployment["spec"]["replicas"] == plan.scale.replicas == 3
    assert plan.status["status"]["revision"] == revision_of(old)
    assert condition(plan, "Ready") == ("True", "Serving")
    expected = ("Unknown", "Optimizing") if code is None else ("False", REFUSED["reason"])
    assert condition(plan, "Optimized") == expected
    assert ("Job" in kinds(plan)) == (code is None)


def test_another_wish_is_another_artefact_and_keeps_the_one_that_is_served():
    one, two = a_service(**INT8), a_service(optimize={"precision": "BF16"})
    assert artefact(one) != artefact(two)
    known = {"optimization": {"artefact": artefact(one)}}
    service = a_service(optimize={"precision": "BF16"}, status=known)
    job = job_of(reconcile(seen(service, claims=CLAIMS)))
    order = loads(job["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"])
    assert order["kept"] == [artefact(one)]


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"models": CLAIMS["models"]}, "VolumeMissing"),
        (CLAIMS | {"preamar-models": ClaimView("preamar-models", "Bound", ("ReadWriteOnce",))}, "VolumeNotShared"),
    ],
    ids=["none", "one node's"],
)  # fmt: skip
def test_there_must_be_a_volume_to_keep_the_artefact_on(claims, reason):
    plan = reconcile(seen(a_service(**INT8), claims=claims))
    assert condition(plan, "Stalled") == ("True", reason)
    assert "preamar-models" in sentence(plan, "Stalled")
    assert plan.apply == ()


def test_failures_of_the_world_are_tried_again_and_told_in_the_end():
    service = a_service(**INT8)
    four = [worker(service, 1, "no space left", name=f"w{n}") for n in range(4)]
    assert (
        condition(reconcile(seen(service, claims=CLAIMS, workers=four[:3])), "Stalled")[0]
        == "False"
    )
    told = reconcile(seen(service, claims=CLAIMS, workers=tuple(four)))
    assert condition(told, "Stalled") == ("True", "OptimizationFails")
    assert "no space left" in sentence(told, "Stalled")
    killed = [worker(service, 137, reason="OOMKilled", name=f"w{n}") for n in range(4)]
    told = reconcile(seen(service, claims=CLAIMS, workers=tuple(killed)))
    assert condition(told, "Stalled") == ("True", "OutOfMemory")
    evicted = [
        worker(service, 1, name=f"w{n}", disrupted="EvictionByEvictionAPI") for n in range(9)
    ]
    told = reconcile(seen(service, claims=CLAIMS, workers=tuple(evicted)))
    assert condition(told, "Stalled")[0] == "False"


@pytest.mark.parametrize(
    "words",
    ["", "no json", "[]", '{"before": 7, "after": {"bytes": -1, "latency": "x"}, "layersKept": 3}',
     '{"after": {"bytes": true, "latency": "1e9999", "throughput": "9"}, "layersKept": [1, "", "a"]}'],
)  # fmt: skip
def test_last_words_that_are_not_ours_are_not_believed(words):
    service = a_service(**INT8)
    plan = reconcile(seen(service, claims=CLAIMS, workers=(worker(service, 0, words),)))
    told = plan.status["status"]["optimization"]
    assert told["artefact"] == artefact(service)
    assert told.get("layersKept", ["a"]) == ["a"]
    assert told.get("after", {"throughput": "9"}) == {"throughput": "9"}


def test_what_replicas_were_made_of_is_read_back_as_it_was():
    one = a_service(**INT8, runtime={"batching": {"maxBatchSize": 3}}, scaling={"max": 9})
    other = a_service(scaling={"max": 2})
    back = earlier(other, made_of(one))
    assert revision_of(back) == revision_of(one)
    assert back.spec.scaling.max == 2
    for text in ("", "[]", "{", '{"replicas": 3}', '{"model": {"uri": 7}}'):
        assert earlier(other, text) is None


def test_a_name_of_any_length_makes_names_that_kubernetes_takes():
    long = a_service("m" * 50, **INT8)
    (job,) = [r for r in map(ref_of, reconcile(seen(long, claims=CLAIMS)).apply) if r.kind == "Job"]
    assert isinstance(job, Ref)
    assert len(job.name) <= 63


def test_an_artefact_that_is_gone_is_made_again_and_its_job_with_it():
    service = a_service(**INT8, replicas=1, status={"optimization": {"artefact": "x"}})
    status = {"optimization": {"artefact": artefact(service)}}
    service = a_service(**INT8, replicas=1, status=status)
    words = dumps({"reason": "ArtefactMissing", "message": "It is made anew."})
    lost = ContainerView("model", init=True, ended_before=Ended(64, "", words, finished=later(-5)))
    made = DeploymentView("d", "1", made_of=made_of(service), replicas=1)
    there = {"deployment": made, "pods": (a_pod(service, lost),), "claims": CLAIMS}
    plan = reconcile(seen(service, **there))
    assert "Job" in kinds(plan)
    assert condition(plan, "Optimized") == ("Unknown", "Optimizing")
    assert condition(plan, "Stalled") == ("True", "ArtefactMissing")
    job = ref_of(job_of(plan))

    def found(seconds, uid="j"):
        ended = Ended(0, "", dumps(WORDS), finished=later(seconds))
        mine = {"batch.kubernetes.io/controller-uid": uid}
        marked = {"preamar.dev/works-for": artefact(service)}
        parts = (ContainerView("optimize", ended=ended),)
        worker = PodView("w", "w", labels=mine, annotations=marked, containers=parts)
        children = {job: Child("j", "1", "uid-m")}
        return reconcile(seen(service, children=children, workers=(worker,), **there))

    assert [d.ref for d in found(-60).delete] == [job], "what that Job made is gone"
    assert found(-60, uid="an earlier one").delete == (), "the new Job has not ended"
    again = found(-1)
    assert (again.delete, condition(again, "Optimized")) == ((), ("True", "Optimized"))
