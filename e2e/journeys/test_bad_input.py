"""Bad input is answered with a sentence, in ``kubectl get`` too, once and not in a storm."""

import pytest

from e2e.journeys.watching import events, job, moving, pods, service, stalled
from e2e.journeys.wishes import a_job, a_service
from e2e.kube import OURS, Json, Kube, condition, until

NEVER = {"model": {"uri": "pvc://models/no-such-model"}}


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        pytest.param("nofile", NEVER, "no-such-model", id="a path that is not on the claim"),
        pytest.param(
            "noclaim", {"model": {"uri": "pvc://nowhere/minilm"}}, "nowhere", id="a missing claim"
        ),
        pytest.param(
            "noimage",
            {"runtime": {"image": "localhost/preamar/no-such-image:1"}},
            "no-such-image",
            id="an image that cannot be pulled",
        ),
        pytest.param(
            "nogpu",
            {"accelerator": {"type": "GPU", "resourceName": "example.com/none"}},
            "example.com/none",
            id="an accelerator that no node has",
        ),
        pytest.param(
            "nomemory",
            {
                "runtime": {
                    "resources": {"limits": {"memory": "48Mi"}, "requests": {"memory": "48Mi"}}
                }
            },
            "memory",
            id="too little memory",
        ),
    ],
)
def test_a_service_that_cannot_run_says_why(
    kube: Kube, namespace: str, name: str, changes: Json, words: str
) -> None:
    kube.apply(a_service(name, **changes), namespace)
    why = stalled(kube, namespace, "InferenceService", name, seconds=180)
    assert words in why["message"].lower() or words in why["message"]
    found = service(kube, namespace, name)
    assert condition(found, "Ready")["status"] == "False"
    row = kube.row(OURS, "InferenceService", name, namespace)
    assert row["Ready"] == "False"
    assert why["reason"] in row.values(), row
    assert max(events(kube, namespace, name).values()) <= 2
    if why["reason"] == "OutOfMemory":
        # Nothing that will not come up holds what others could use.
        until(
            "its pods are gone",
            120,
            lambda: not pods(kube, namespace, "inferenceservice", name),
            progress=moving(kube, namespace),
        )
        assert condition(service(kube, namespace, name), "Stalled")["reason"] == "OutOfMemory"
    kube.delete(OURS, "InferenceService", name, namespace)


def test_a_training_job_without_its_claim_is_stalled_before_any_pod(
    kube: Kube, namespace: str
) -> None:
    sources = [{"name": "books", "uri": "pvc://nowhere/books", "weight": "1"}]
    kube.apply(a_job("nodata", data={"sources": sources}), namespace)
    why = stalled(kube, namespace, "TrainingJob", "nodata")
    assert "nowhere" in why["message"]
    assert not pods(kube, namespace, "trainingjob", "nodata")
    assert job(kube, namespace, "nodata") is not None
    kube.delete(OURS, "TrainingJob", "nodata", namespace)


def test_an_empty_source_is_the_users_error_and_is_not_tried_again(
    kube: Kube, namespace: str
) -> None:
    sources = [{"name": "books", "uri": "pvc://data/no-such-folder", "weight": "1"}]
    kube.apply(a_job("empty", data={"sources": sources}), namespace)
    why = stalled(kube, namespace, "TrainingJob", "empty", seconds=240)
    assert "no-such-folder" in why["message"]
    found = job(kube, namespace, "empty")
    assert found is not None
    assert found["status"]["attempt"] == 1
    kube.delete(OURS, "TrainingJob", "empty", namespace)
