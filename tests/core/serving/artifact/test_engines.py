"""Engines are built by a Job for each GPU product, and pods find the one for theirs.

Holds: core/objects.py, core/serving/artifact/artifacts.py, core/serving/artifact/optimize_job.py,
core/serving/model/images.py, core/serving/model/limits.py
"""

from json import dumps

import pytest

from preamar.core.objects import Child, ClaimView
from preamar.core.plan import ref_of
from preamar.core.pods import ContainerView, Ended, PodView
from preamar.core.serving.health.fit_kept import KeptFit
from preamar.core.serving.model.images import read
from preamar.core.serving.model.limits import unserved
from preamar.core.serving.model.previous_spec import made_of
from preamar.core.serving.model.source import artefact
from preamar.core.serving.observe import DeploymentView
from preamar.core.serving.pods.desired import revision_of
from preamar.core.serving.reconcile import reconcile
from preamar.core.settings import Settings
from tests.core.builders import a_pod, a_service, condition, order_of, products_of, seen, sentence

CLAIMS = {n: ClaimView(n, "Bound", ("ReadWriteMany",)) for n in ("models", "preamar-models")}
L4, A10 = "NVIDIA-L4", "NVIDIA-A10"
FIGURES = {"latency": "0.002000", "throughput": "512.0"}


def on_image(image):
    """An installation whose model server for GPUs is this one."""
    return Settings(images={**Settings().images, "triton-gpu": image})


def compiled(*products, settings=None, status=None, **more):
    """A service that wants engines for these products, as the operator reads it."""
    wish = {
        "model": {"uri": "pvc://models/one", "task": "Embed"},
        "accelerator": {"type": "GPU", "count": 2, "products": list(products)},
        "optimize": {"engine": "TensorRT", "precision": "FP8"},
        **more,
    }
    body = a_service(status=status, **wish).model_dump(by_alias=True, exclude_unset=True)
    return read(body, settings or Settings())


def built(service, product, code=0, said=None, **more):
    words = {
        "before": {"bytes": 90, **FIGURES},
        "after": {"bytes": 30, **FIGURES},
        "layersKept": ["one"],
        "engine": {"product": said or product, "tensorrt": "11.4.0.106"},
    }
    ended = (
        None if code is None else Ended(code, "", dumps(words if code == 0 else more.pop("words")))
    )
    return PodView(
        f"w-{product}",
        f"w-{product}",
        annotations={"preamar.dev/works-for": f"{artefact(service)}/{product}".rstrip("/")},
        containers=(ContainerView("optimize", ended=ended),),
        **more,
    )


def jobs(plan):
    return [m for m in plan.apply if m["kind"] == "Job"]


def pod_of(job):
    return job["spec"]["template"]["spec"]


def test_each_product_has_a_job_on_one_whole_gpu_of_it_in_the_image_that_serves():
    service = compiled(L4, A10)
    plan = reconcile(seen(service, claims=CLAIMS))
    assert len({job["metadata"]["name"] for job in jobs(plan)}) == 2
    assert [products_of(pod_of(job)) for job in jobs(plan)] == [[L4], [A10]]
    for job in jobs(plan):
        (container,) = pod_of(job)["containers"]
        assert container["image"] == Settings().images["triton-gpu"]
        assert container["resources"]["limits"] == {"nvidia.com/gpu": "1"}
        order = order_of(container, "PREAMAR_OPTIMIZE")
        assert (order["accelerator"], order["engine"]) == ("GPU", "TensorRT")
        assert (order["precision"], order["maxBatchSize"]) == ("FP8", 8)
        assert order["target"] == f"/mnt/cache/.optimized/{artefact(service)}"
    assert condition(plan, "Optimized") == ("Unknown", "Optimizing")


def test_where_any_gpu_will_do_there_is_one_job():
    (job,) = jobs(reconcile(seen(compiled(), claims=CLAIMS)))
    assert products_of(pod_of(job)) == []


def test_nothing_is_served_before_all_engines_are_there_and_it_says_what_is_waited_for():
    service = compiled(L4, A10)
    waiting = built(service, A10, code=None, unschedulable="0/3 nodes are available")
    plan = reconcile(seen(service, claims=CLAIMS, workers=(built(service, L4), waiting)))
    assert [products_of(pod_of(job)) for job in jobs(plan)] == [[A10]]
    assert not [m for m in plan.apply if m["kind"] == "Deployment"]
    said = sentence(plan, "Optimized")
    assert said == (
        "1 of 2 engines are built. The Job for NVIDIA-A10 waits for a node: 0/3 nodes are available"
    )


def test_engines_are_served_told_and_remembered():
    service = compiled(L4, A10)
    workers = (built(service, L4), built(service, A10))
    plan = reconcile(seen(service, claims=CLAIMS, workers=workers))
    deployment = next(m for m in plan.apply if m["kind"] == "Deployment")
    (model,) = pod_of(deployment)["initContainers"]
    order = order_of(model, "PREAMAR_MODEL")
    assert order["engine"] == "TensorRT"
    assert order["source"] == f"/mnt/cache/.optimized/{artefact(service)}"
    told = plan.status["status"]["optimization"]
    assert [(e["product"], e["tensorrt"]) for e in told["engines"]] == [
        (L4, "11.4.0.106"),
        (A10, "11.4.0.106"),
    ]
    assert told["after"] == told["engines"][0]["after"] == {"bytes": 30, **FIGURES}

    known = compiled(L4, A10, status={"optimization": told})
    again = reconcile(seen(known, claims=CLAIMS))
    assert jobs(again) == []
    assert again.status["status"]["optimization"] == told


def test_a_product_that_is_added_later_is_the_only_one_that_is_built():
    service = compiled(L4)
    told = reconcile(seen(service, claims=CLAIMS, workers=(built(service, L4),))).status["status"]
    status = {"optimization": told["optimization"]}
    more = compiled(L4, A10, status=status)
    assert artefact(more) == artefact(service)
    plan = reconcile(seen(more, claims=CLAIMS))
    assert [products_of(pod_of(job)) for job in jobs(plan)] == [[A10]]
    done = reconcile(seen(more, claims=CLAIMS, workers=(built(more, A10),)))
    engines = done.status["status"]["optimization"]["engines"]
    assert [e["product"] for e in engines] == [L4, A10]


def test_what_one_product_cannot_do_is_refused_by_its_name():
    service = compiled(L4, A10)
    words = {"reason": "OptimizationUnsupported", "message": "FP8 needs capability 8.9."}
    workers = (built(service, L4), built(service, A10, code=64, words=words))
    plan = reconcile(seen(service, claims=CLAIMS, workers=workers))
    assert condition(plan, "Stalled") == ("True", "OptimizationUnsupported")
    assert sentence(plan, "Stalled") == "For NVIDIA-A10: FP8 needs capability 8.9."
    assert plan.apply == ()


@pytest.mark.parametrize(
    ("failed", "said"),
    [("DeadlineExceeded", "within 6 hours"), ("BackoffLimitExceeded", "its pods are gone")],
)
def test_a_job_that_never_ended_well_is_told_and_not_waited_for(failed, said):
    service = compiled(L4)
    (job,) = jobs(reconcile(seen(service, claims=CLAIMS)))
    body = job | {
        "metadata": job["metadata"] | {"uid": "j", "resourceVersion": "1"},
        "status": {"conditions": [{"type": "Failed", "status": "True", "reason": failed}]},
    }
    child = Child.of(body)
    assert child.owner == "uid-m"
    plan = reconcile(seen(service, claims=CLAIMS, children={ref_of(job): child}))
    assert condition(plan, "Stalled") == ("True", "OptimizationFails")
    assert said in sentence(plan, "Stalled")
    assert job["metadata"]["name"] in sentence(plan, "Stalled")


def test_an_upgrade_builds_anew_while_the_old_engines_serve_in_their_own_image():
    old = compiled(L4, settings=on_image("triton:1"))
    new = compiled(
        L4,
        settings=on_image("triton:2"),
        status={"revision": revision_of(old), "optimization": {"artefact": artefact(old)}},
    )
    assert artefact(new) != artefact(old)
    there = DeploymentView("d", "1", made_of=made_of(old), replicas=1, ready=1)
    observed = seen(
        new,
        claims=CLAIMS,
        settings=on_image("triton:2"),
        deployment=there,
        pods=(a_pod(old, ready=True),),
    )
    plan = reconcile(observed)
    (job,) = jobs(plan)
    assert pod_of(job)["containers"][0]["image"] == "triton:2"
    assert order_of(pod_of(job)["containers"][0], "PREAMAR_OPTIMIZE")["kept"] == [artefact(old)]
    serving = pod_of(next(m for m in plan.apply if m["kind"] == "Deployment"))
    (model,) = serving["initContainers"]
    assert {model["image"], serving["containers"][0]["image"]} == {"triton:1"}
    assert order_of(model, "PREAMAR_MODEL")["source"].endswith(artefact(old))


def test_without_an_engine_an_upgrade_is_no_other_revision():
    one, two = (compiled(settings=on_image(image), optimize={}) for image in ("a", "b"))
    assert revision_of(one) == revision_of(two)


def test_a_replica_with_a_smaller_batch_takes_the_same_engine():
    service = compiled(L4, runtime={"batching": {"maxBatchSize": 16}})
    known = reconcile(seen(service, claims=CLAIMS, workers=(built(service, L4),)))
    fit = KeptFit(16, 4)
    assert fit.halvings == 2
    status = {
        "optimization": known.status["status"]["optimization"],
        "fit": {"revision": revision_of(service), "asked": 16, "maxBatchSize": 4},
    }
    smaller = compiled(L4, status=status, runtime={"batching": {"maxBatchSize": 16}})
    plan = reconcile(seen(smaller, claims=CLAIMS))
    (model,) = pod_of(next(m for m in plan.apply if m["kind"] == "Deployment"))["initContainers"]
    order = order_of(model, "PREAMAR_MODEL")
    assert order["batching"]["maxBatchSize"] == 4
    assert order["source"].endswith(artefact(service))
    larger = compiled(L4, runtime={"batching": {"maxBatchSize": 32}})
    assert artefact(larger) != artefact(service)


def test_a_replica_that_no_engine_fits_is_told_of():
    service = compiled(L4, replicas=1)
    words = dumps({"engine": "None", "why": "this GPU is Tesla-T4, engines are for NVIDIA-L4"})
    pod = a_pod(service, ContainerView("model", init=True, ended=Ended(0, "", words)), ready=True)
    observed = seen(service, claims=CLAIMS, workers=(built(service, L4),), pods=(pod,))
    plan = reconcile(observed)
    assert condition(plan, "Optimized") == ("True", "Optimized")
    assert "serves the graph and no engine: this GPU is Tesla-T4" in sentence(plan, "Optimized")


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"model": {"format": "VLLM", "task": "Generate"}}, "optimize.engine"),
        ({"model": {"format": "Python", "trust": "Code"}}, "optimize.engine"),
        ({"optimize": {"engine": "TensorRT", "precision": "FP4"}}, "optimize.precision"),
        ({"optimize": {"precision": "FP16"}}, "optimize.precision"),
        ({"parallelism": {"nodes": 2}}, "parallelism.nodes with optimize"),
    ],
)
def test_engines_that_cannot_be_are_refused(more, field):
    wish = {"accelerator": {"type": "GPU"}, "optimize": {"engine": "TensorRT"}} | more
    assert f"spec.{field} is not supported" in unserved(a_service(**wish))


@pytest.mark.parametrize("engine", [7, "x", {"product": 3}, {"tensorrt": ["a"]}, None])
def test_what_a_users_image_says_of_an_engine_is_not_believed(engine):
    service = compiled()
    pod = built(service, "")
    (container,) = pod.containers
    words = dumps(dict(container.ended.words) | {"engine": engine})
    lying = PodView(
        "w", "w", annotations=pod.annotations, containers=(ContainerView("optimize", ended=Ended(0, "", words)),)
    )  # fmt: skip
    plan = reconcile(seen(service, claims=CLAIMS, workers=(lying,)))
    (told,) = plan.status["status"]["optimization"]["engines"]
    assert set(told) == {"before", "after"}


def test_the_jobs_of_wishes_that_were_changed_since_are_ended():
    before = compiled(L4)
    (job,) = jobs(reconcile(seen(before, claims=CLAIMS)))
    mine, another = Child("j", "1", "uid-m"), Child("k", "1", "uid-other")
    service = compiled(L4, optimize={"engine": "TensorRT", "precision": "INT8"})
    old, strangers = ref_of(job), ref_of(job)._replace(name="x-optimize-1")
    plan = reconcile(seen(service, claims=CLAIMS, children={old: mine, strangers: another}))
    assert [(d.ref, d.uid) for d in plan.delete] == [(old, "j")]
    without = compiled(optimize={})
    plan = reconcile(seen(without, claims=CLAIMS, children={old: mine}))
    assert [d.ref for d in plan.delete] == [old]
    assert reconcile(seen(before, claims=CLAIMS, children={old: mine})).delete == ()


def test_what_the_deployment_is_made_of_is_kept_while_a_later_artefact_is_on_trial():
    old, tried = compiled(L4), compiled(L4, optimize={"engine": "TensorRT", "precision": "INT8"})
    service = compiled(
        L4,
        optimize={"engine": "TensorRT", "precision": "FP16"},
        status={"optimization": {"artefact": artefact(tried)}},
    )
    there = DeploymentView("d", "1", made_of=made_of(old), replicas=1, ready=1)
    plan = reconcile(seen(service, claims=CLAIMS, deployment=there))
    order = order_of(pod_of(jobs(plan)[0])["containers"][0], "PREAMAR_OPTIMIZE")
    assert order["kept"] == sorted([artefact(old), artefact(tried)])
