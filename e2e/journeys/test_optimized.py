"""A model is optimised by a Job, measured, and served; one that would answer otherwise is not."""

import numpy as np
import openai
import pytest

from e2e.cluster import Cluster
from e2e.clusters.images import reference
from e2e.coded import SEEDING_IMAGE
from e2e.conftest import claim
from e2e.journeys.watching import moving, pods, service, stalled
from e2e.journeys.wishes import a_service
from e2e.kube import OURS, Json, Kube, condition, until
from e2e.seed import seed

TEXTS = ["A boat sails on the sea.", "A ship crosses the ocean.", "Taxes are due in April."]


def wish(name: str, **optimize: object) -> Json:
    model = {"name": name}
    return a_service(name, model=model, scaling={"min": 1, "max": 1}, optimize=optimize)


def embedded(here: Cluster, model: str) -> np.ndarray:
    client = openai.OpenAI(base_url=f"{here.gateway_url}/v1", api_key=here.key())
    answer = client.embeddings.create(model=model, input=TEXTS)
    return np.array([one.embedding for one in answer.data])


def test_a_quantised_model_takes_over_from_the_one_that_was_served(
    kube: Kube, namespace: str, here: Cluster
) -> None:
    kube.apply(claim("preamar-models"), namespace)
    plain = a_service("quick", scaling={"min": 1, "max": 1})
    kube.apply(plain, namespace)
    until(
        "the plain model is served",
        240,
        lambda: kube.endpoints("quick", namespace) == 1,
        progress=moving(kube, namespace),
    )
    before = embedded(here, "quick")

    kube.apply(wish("quick", precision="INT8", tolerance="0.05"), namespace)
    seen: set[str] = set()

    def optimized() -> Json | None:
        found = service(kube, namespace, "quick")
        told = condition(found, "Optimized")
        if told.get("reason") == "Optimizing":
            seen.add(condition(found, "Ready").get("status", ""))
        assert kube.endpoints("quick", namespace) >= 1
        return found if told.get("status") == "True" else None

    status = until(
        "it is optimised, and served meanwhile", 420, optimized, progress=moving(kube, namespace)
    )["status"]
    assert seen == {"True"}
    measured = status["optimization"]
    assert measured["after"]["bytes"] < measured["before"]["bytes"] / 2
    assert 0 < float(measured["after"]["error"]) <= 0.05

    def replaced() -> bool:
        now = pods(kube, namespace, "inferenceservice", "quick")
        revisions = {p["metadata"]["labels"]["preamar.dev/revision"] for p in now}
        return len(now) == 1 and len(revisions) == 1 and _revision(kube, namespace) in revisions

    until("replicas serve the artefact", 240, replaced, progress=moving(kube, namespace))
    until("they answer", 60, lambda: kube.endpoints("quick", namespace) == 1)
    after = embedded(here, "quick")
    cosine = np.sum(before * after, axis=1)
    assert cosine == pytest.approx(np.ones(3), abs=0.05)
    assert not np.array_equal(before, after)

    first = _job(kube, namespace)["metadata"]["uid"]
    emptied = ["python3", "-c", "import shutil; shutil.rmtree('/target/.optimized')"]
    image = reference(SEEDING_IMAGE)
    seed(kube, namespace, "empties", image, [], "preamar-models", emptied)
    (lost,) = pods(kube, namespace, "inferenceservice", "quick")
    kube.delete("v1", "Pod", lost["metadata"]["name"], namespace)

    def made_anew() -> bool:
        job = _job(kube, namespace)
        done = (job.get("status") or {}).get("succeeded") == 1
        return done and job["metadata"]["uid"] != first

    until(
        "what somebody has removed is made anew", 240, made_anew, progress=moving(kube, namespace)
    )
    until(
        "and served",
        400,
        lambda: kube.endpoints("quick", namespace) == 1,
        progress=moving(kube, namespace),
    )
    assert embedded(here, "quick") == pytest.approx(after, abs=0.05)
    kube.delete(OURS, "InferenceService", "quick", namespace)


def _job(kube: Kube, namespace: str) -> Json:
    made = kube.list("batch/v1", "Job", namespace)
    found = (job for job in made if job["metadata"]["name"].startswith("quick-optimize-"))
    return next(found, {"metadata": {"uid": ""}})


def _revision(kube: Kube, namespace: str) -> str:
    found = service(kube, namespace, "quick") or {}
    deployment = kube.get("apps/v1", "Deployment", "quick-serve", namespace) or {}
    made = deployment["metadata"]["annotations"]["preamar.dev/revision"]
    return str(made) if found["status"].get("revision") == made else ""


def test_what_would_answer_otherwise_is_refused_and_says_by_how_much(
    kube: Kube, namespace: str
) -> None:
    kube.apply(claim("preamar-models"), namespace)
    half = {"type": "Unstructured", "ratio": "0.9"}
    kube.apply(wish("blunt", sparsity=half, tolerance="0.001"), namespace)
    why = stalled(kube, namespace, "InferenceService", "blunt", 420)
    assert why["reason"] == "OptimizationTooInaccurate"
    assert "nothing was published" in why["message"]
    assert pods(kube, namespace, "inferenceservice", "blunt") == []
    kube.delete(OURS, "InferenceService", "blunt", namespace)
