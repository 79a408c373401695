"""A first request has its size written by a thread of its own, whatever else the operator does.

Holds: shell/fast_wake.py
"""

import asyncio
import json
import threading
import time
import urllib.request
from typing import Any

import pytest

from preamar.api.inference import InferenceService
from preamar.cluster.call import MERGE, call
from preamar.cluster.kinds import location
from preamar.core.plan import Ref
from preamar.core.serving.pods.desired import revision_of
from tests.shell.test_operator import GROUP, SERVICE, Place, audited, place

__all__ = ["audited", "place"]
pytestmark = pytest.mark.apiserver
MODEL = "chat"
BLOCKED_SECONDS = 1.5


async def asleep(place: Place) -> None:
    """A service that has loaded once, at zero replicas, its operator content with that."""
    await place.claim("models")
    await place.make("InferenceService", MODEL, SERVICE | {"replicas": 0})
    body = await place.get("InferenceService", MODEL)
    status = {"revision": revision_of(InferenceService.model_validate(body))}
    path = f"{location(Ref(GROUP, 'InferenceService', place.namespace, MODEL))}/status"
    await call(place.client, "PATCH", path, body={"status": status}, content_type=MERGE)


def post(place: Place, sequence: int, queued: int) -> None:
    """A gateway's report, sent from a thread: the loop of the test is the operator's too."""
    load = {"queued": queued, "running": 0, "arrived": queued}
    services = {f"{place.namespace}/{MODEL}": load}
    body = json.dumps({"gateway": "g", "sequence": sequence, "services": services}).encode()
    url = f"http://127.0.0.1:{place.demand}/demand"
    request = urllib.request.Request(url, body, {"Authorization": "Bearer key"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10):
        pass


def sizes(place: Place) -> list[str]:
    """When the operator wrote sizes, of every write that was taken."""
    found = []
    for line in place.audit.read_text().splitlines():
        event = json.loads(line)
        about = event.get("objectRef") or {}
        if about.get("namespace") == place.namespace and about.get("subresource") == "scale":
            found.append(f"{event['responseStatus']['code']}")
    return found


async def test_a_sleeping_service_is_woken_while_the_operator_can_do_nothing_else(
    place: Place,
) -> None:
    await asleep(place)
    async with place.operator():
        await place.condition("InferenceService", MODEL, "Ready")
        await asyncio.to_thread(post, place, 1, 0)
        await asyncio.sleep(0.5)
        told: list[Any] = []

        def ask() -> None:
            time.sleep(0.2)
            post(place, 2, 1)
            until = time.monotonic() + BLOCKED_SECONDS
            while not told and time.monotonic() < until:
                told.extend(sizes(place))
                time.sleep(0.02)

        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(0.2 + BLOCKED_SECONDS)  # noqa: ASYNC251  # the loop does nothing meanwhile
        seen = list(told)
        await asyncio.to_thread(asking.join)

        async def said() -> list[str]:
            path = f"/api/v1/namespaces/{place.namespace}/events"
            events = (await call(place.client, "GET", path))["items"]
            return [e["message"] for e in events if "The size is now 1, it was 0" in e["message"]]

        messages = await place.until("the event of the new size", said)

        async def followed() -> bool:
            body = await place.get("InferenceService", MODEL)
            child = (await place.children()).get(f"Deployment/{MODEL}-serve")
            decision = (body.get("status") or {}).get("decision") or {}
            return bool(
                child and child["spec"]["replicas"] == 1 == decision.get("replicas") and decision
            )

        await place.until("Deployment and status follow the size", followed)
        _, metrics = await place.probe("/metrics")
    assert seen == ["200"]
    assert len(messages) == 1
    assert sizes(place) == ["200"]
    assert 'preamar_scaling_decisions_total{reason="DemandMet"} 1.0' in metrics


async def test_a_port_that_is_taken_ends_the_operator_with_the_reason(place: Place) -> None:
    async with place.operator():
        await place.until("the port is listened to", lambda: _open(place))
        other = Place(
            place.client, str(place.options.kubeconfig), place.audit, place.options.secrets
        )
        object.__setattr__(other.options, "demand_port", place.demand)
        with pytest.raises(OSError, match="address already in use"):
            async with other.operator():
                await asyncio.sleep(10)


async def _open(place: Place) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", place.demand)
    except OSError:
        return False
    writer.close()
    return True
