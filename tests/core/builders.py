"""Resources and pods that read as sentences."""

from datetime import UTC, datetime, timedelta
from json import dumps, loads

from preamar.api.inference import InferenceService
from preamar.api.training import TrainingJob
from preamar.core.objects import ClaimView
from preamar.core.pods import ContainerView, Ended, PodView
from preamar.core.serving import observe as serving
from preamar.core.serving.pods.desired import revision_of
from preamar.core.training import observe as training

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SHARED = ("ReadWriteMany",)


def later(seconds):
    return NOW + timedelta(seconds=seconds)


def metadata(name, **more):
    return {
        "name": name,
        "namespace": "demo",
        "uid": f"uid-{name}",
        "resourceVersion": "7",
        "generation": 3,
        "creationTimestamp": "2026-01-01T00:00:00Z",
        **more,
    }


def merged(base, change):
    for key, value in change.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        base[key] = merged(dict(base[key]), value) if both else value
    return base


def a_service(name="m", status=None, meta=None, **spec):
    base = {"model": {"uri": "pvc://models/one"}, "accelerator": {"type": "CPU"}}
    body = {"metadata": metadata(name, **(meta or {})), "spec": merged(base, spec)}
    if status:
        body["status"] = status
    return InferenceService.model_validate(body)


def seen(service, **more):
    claims = {n: ClaimView(n, "Bound", SHARED) for n in serving.claims_named(service)}
    parts = {"claims": claims, "now": NOW, **more}
    return serving.Observed(service=service, **parts)


def a_pod(service, *containers, name="p", **more):
    labels = {"preamar.dev/revision": revision_of(service)}
    parts = {"created": later(-60), "labels": labels, **more}
    return PodView(name=name, uid=name, containers=containers, **parts)


def a_job(name="t", status=None, meta=None, **spec):
    base = {
        "accelerator": {"type": "CPU"},
        "data": {"sources": [{"name": "books", "uri": "pvc://data/books"}]},
        "checkpoint": {"uri": "pvc://data/ckpt"},
    }
    body = {"metadata": metadata(name, **(meta or {})), "spec": merged(base, spec)}
    if status:
        body["status"] = status
    return TrainingJob.model_validate(body)


def watched(job, **more):
    claims = {n: ClaimView(n, "Bound", SHARED) for n in training.claims_named(job)}
    parts = {"claims": claims, "now": NOW, **more}
    return training.Observed(job=job, **parts)


def an_attempt(number=1, **more):
    parts = {"workers": 2, "started": later(-600), "annotations": {}, **more}
    return training.JobView(f"t-{number}", f"uid-t-{number}", "9", number, **parts)


def a_rank(index, attempt=1, code=None, *, words=None, finished=-50, reason="", **more):
    ended = None
    if code is not None:
        message = dumps(words) if isinstance(words, dict) else (words or "")
        ended = Ended(code, reason, message, finished=later(finished))
    phase = "Running" if code is None else "Failed" if code else "Succeeded"
    labels = {
        "preamar.dev/attempt": str(attempt),
        "batch.kubernetes.io/job-completion-index": str(index),
    }
    parts = {"phase": phase, "created": later(-600), "labels": labels, **more}
    container = ContainerView("trainer", image="trainer:1", ended=ended)
    return PodView(name=f"t-{attempt}-{index}", uid=f"u{index}", containers=(container,), **parts)


def condition(plan, kind):
    found = next(c for c in plan.status["status"]["conditions"] if c["type"] == kind)
    return found["status"], found["reason"]


def sentence(plan, kind):
    return next(c for c in plan.status["status"]["conditions"] if c["type"] == kind)["message"]


def products_of(pod):
    """The GPU products that a pod's spec asks for."""
    found = pod["affinity"]["nodeAffinity"]
    terms = found.get("requiredDuringSchedulingIgnoredDuringExecution", {})
    return [
        value
        for term in terms.get("nodeSelectorTerms", ())
        for expression in term["matchExpressions"]
        if expression["key"] == "nvidia.com/gpu.product"
        for value in expression["values"]
    ]


def order_of(container, name):
    """What a container is told in that variable."""
    return loads(next(e["value"] for e in container["env"] if e["name"] == name))
