"""A service that sleeps answers unmodified clients, and what it answers is right."""

import math

import numpy as np
import pytest
from tritonclient import http as triton

from e2e.cluster import Cluster
from e2e.demo.calls import client
from e2e.journeys.watching import asleep, service
from e2e.journeys.wishes import a_service
from e2e.kube import OURS, Kube, condition, until


def cosine(one: list[float], other: list[float]) -> float:
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return dot / (math.hypot(*one) * math.hypot(*other))


def test_openai_and_triton_clients_wake_a_sleeping_service(
    here: Cluster, kube: Kube, namespace: str
) -> None:
    kube.apply(a_service("wake"), namespace)
    asleep(kube, namespace, "wake")

    answer = client(here).embeddings.create(
        model="wake", input=["a boat at sea", "a ship on the ocean", "quarterly tax returns"]
    )
    boat, ship, tax = (one.embedding for one in answer.data)
    assert cosine(boat, ship) > cosine(boat, tax) + 0.2
    assert answer.usage.prompt_tokens > 3
    asleep(kube, namespace, "wake")

    caller = triton.InferenceServerClient(
        here.gateway_url.removeprefix("http://"), network_timeout=120.0, connection_timeout=120.0
    )
    text = triton.InferInput("TEXT", [1, 1], "BYTES")
    text.set_data_from_numpy(np.array([[b"a boat at sea"]], dtype=object))
    headers = {"authorization": f"Bearer {here.key()}"}
    result = caller.infer("wake", [text], headers=headers)
    assert result.as_numpy("EMBEDDING")[0] == pytest.approx(boat, abs=1e-4)

    def ready() -> bool:
        return condition(service(kube, namespace, "wake"), "Ready").get("status") == "True"

    until("wake says that it is Ready", 10, ready)  # the answer comes before the operator's patch
    row = kube.row(OURS, "InferenceService", "wake", namespace)
    assert row["Ready"] == "True"
