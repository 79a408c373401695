"""What the API server does with our kinds beside judging them: scale, status, changes, columns.

Holds: api/inference_status.py, api/rules.py, api/training_status.py
"""

import copy
import subprocess
import uuid

import pytest

from preamar.api.inference import InferenceService
from preamar.api.rules import refusals
from preamar.api.training import TrainingJob
from tests.api.judges import PATHS, STRICT

pytestmark = pytest.mark.apiserver
MERGE = "application/merge-patch+json"
SPECS = {
    "InferenceService": {"model": {"uri": "pvc://models/a"}},
    "TrainingJob": {
        "data": {"sources": [{"name": "books", "uri": "pvc://data/books"}]},
        "checkpoint": {"uri": "pvc://ckpt/run1"},
    },
}


@pytest.fixture
def made(server):
    """Makes resources that are gone after the test."""
    paths = []

    def make(kind, **spec):
        name = f"t-{uuid.uuid4().hex[:8]}"
        status, body = server.call(
            "POST",
            PATHS[kind],
            {
                "apiVersion": "preamar.dev/v1alpha1",
                "kind": kind,
                "metadata": {"name": name},
                "spec": {**SPECS[kind], **spec},
            },
        )
        assert status == 201, body
        paths.append(f"{PATHS[kind]}/{name}")
        return paths[-1], body

    yield make
    for path in paths:
        server.call("DELETE", path)


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [("InferenceService", ("replicas",)), ("TrainingJob", ("workers", "replicas"))],
)
def test_scale_writes_the_one_place_of_size_and_tells_the_selector(server, made, kind, wanted):
    path, _ = made(kind)
    running = "replicas" if kind == "InferenceService" else "workers"
    status, _ = server.call(
        "PATCH", f"{path}/status", {"status": {"selector": "a=b", running: 2}}, MERGE
    )
    assert status == 200
    status, _ = server.call("PATCH", f"{path}/scale", {"spec": {"replicas": 3}}, MERGE)
    assert status == 200
    _, scale = server.call("GET", f"{path}/scale")
    assert scale["spec"]["replicas"] == 3
    assert scale["status"] == {"replicas": 2, "selector": "a=b"}
    _, body = server.call("GET", path)
    for step in ("spec", *wanted):
        body = body[step]
    assert body == 3


def test_a_training_job_is_not_scaled_past_its_bounds(server, made):
    path, _ = made("TrainingJob")
    status, answer = server.call("PATCH", f"{path}/scale", {"spec": {"replicas": 9}}, MERGE)
    assert status == 422
    assert "workers.replicas must be between workers.min and workers.max" in answer["message"]


CHANGES = [
    ("InferenceService", {}, {"model": {"name": "other"}}),
    ("InferenceService", {}, {"model": {"uri": "pvc://models/b"}}),
    ("InferenceService", {"model": {"uri": "pvc://a/b", "name": "n"}}, {"model": {"name": None}}),
    ("InferenceService", {"model": {"uri": "pvc://a/b", "name": "n"}}, {"model": {"name": "n"}}),
    ("InferenceService", {}, {"scaling": {"max": 9}}),
    ("TrainingJob", {}, {"batch": {"global": 128}}),
    ("TrainingJob", {}, {"batch": {"micro": 8}}),
    ("TrainingJob", {}, {"model": {"parameters": {"layers": 4}}}),
    ("TrainingJob", {}, {"model": {"preset": "moe-tiny"}}),
    ("TrainingJob", {}, {"checkpoint": {"uri": "pvc://ckpt/run2"}}),
    ("TrainingJob", {}, {"checkpoint": {"keep": 9}}),
    ("TrainingJob", {}, {"steps": 5000}),
]


def merged(old, patch):
    if not isinstance(patch, dict):
        return patch
    base = copy.deepcopy(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            base.pop(key, None)
        else:
            base[key] = merged(base.get(key), value)
    return base


@pytest.mark.parametrize(("kind", "first", "patch"), CHANGES)
def test_server_and_models_agree_on_what_never_changes(server, made, kind, first, patch):
    path, old = made(kind, **first)
    new = {**old, "spec": merged(old["spec"], patch)}
    status, answer = server.call("PUT", path + STRICT, new)
    assert status in {200, 422}, answer
    model = InferenceService if kind == "InferenceService" else TrainingJob
    told = refusals(model.model_validate(new), model.model_validate(old))
    assert bool(told) == (status == 422), (told, answer)
    for sentence in told:
        assert sentence.partition(": ")[2] in answer["message"]


def test_a_name_that_equals_the_resources_own_is_no_change(server, made):
    path, old = made("InferenceService")
    name = old["metadata"]["name"]
    status, answer = server.call("PATCH", path, {"spec": {"model": {"name": name}}}, MERGE)
    assert status == 200, answer


def test_get_shows_the_reason_of_the_summary_condition(server, made, kubeconfig):
    path, _ = made("InferenceService")
    now = "2027-01-31T18:00:00Z"
    conditions = [
        {"type": t, "status": s, "reason": r, "message": "m", "lastTransitionTime": now}
        for t, s, r in (("Stalled", "True", "ClaimMissing"), ("Ready", "False", "NoPods"))
    ]
    server.call("PATCH", f"{path}/status", {"status": {"conditions": conditions}}, MERGE)
    from e2e.clusters import gobuild

    shown = subprocess.run(
        [
            gobuild.kube(),
            "kubectl",
            "--kubeconfig",
            kubeconfig,
            "get",
            "infsvc",
            path.rsplit("/")[-1],
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert shown.splitlines()[0].split() == ["NAME", "READY", "REASON", "WANTED", "RUNNING", "AGE"]
    assert shown.splitlines()[1].split()[1:4] == ["False", "NoPods", "1"]


def test_the_whole_status_survives_the_schema(server, made):
    path, _ = made("TrainingJob")
    status = {
        "observedGeneration": 1,
        "workers": 2,
        "validWorldSizes": [1, 2, 4],
        "progress": {
            "step": 1,
            "steps": 2,
            "loss": "2.5",
            "samplesPerSecond": "10",
            "etaSeconds": 3,
        },
        "checkpoint": {"step": 1, "uri": "pvc://a/b", "bytes": 5, "verified": True},
        "resizes": [{"from": 2, "to": 1, "reason": "UserAsked", "pauseSeconds": "1.5"}],
        "failure": {"class": "PeerLost", "rank": 1, "explanation": "Gone."},
    }
    code, answer = server.call(
        "PATCH", f"{path}/status?fieldValidation=Strict", {"status": status}, MERGE
    )
    assert code == 200, answer
    assert answer["status"] == status
    read = TrainingJob.model_validate(answer).status
    assert (read.resizes[0].from_, read.failure.class_) == (2, "PeerLost")
