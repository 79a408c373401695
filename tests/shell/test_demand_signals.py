"""What gateways and model servers say reaches the size, the metrics, the event and the status.

Holds: shell/figures/metrics.py, shell/figures/scaling_figures.py
"""

import asyncio
from datetime import UTC, datetime
from typing import Any, Self

import aiohttp
import pytest
from aiohttp import web

from e2e.clusters.bare import free_ports
from preamar.cluster.call import MERGE, call
from preamar.core.timestamps import stamp
from preamar.demand import witness
from preamar.protocol.demand import Demand
from preamar.shell.figures.metrics import Metrics
from tests.shell.test_operator import SERVICE, Place, audited, place

__all__ = ["audited", "place"]
MODEL = "chat"


def test_demand_and_what_was_learned_are_shown_and_what_is_unknown_is_not() -> None:
    metrics = Metrics()
    metrics.scaling.demanded("demo/chat", Demand(7, 7, 3), 9)
    metrics.scaling.demanded("demo/blind", Demand(None, 7, 3), None)
    metrics.scaling.learned("demo/chat", Demand(service_seconds=0.5), {"coldStartSeconds": "31.5"})
    metrics.resized("DemandMet")
    text = metrics.text().decode()
    for line in (
        'preamar_scaling_demand{kind="queued",service="demo/chat"} 3.0',
        'preamar_scaling_demand{kind="running",service="demo/chat"} 4.0',
        'preamar_scaling_demand{kind="witness",service="demo/chat"} 9.0',
        'preamar_scaling_learned_seconds{kind="service",service="demo/chat"} 0.5',
        'preamar_scaling_learned_seconds{kind="cold_start",service="demo/chat"} 31.5',
        'preamar_scaling_decisions_total{reason="DemandMet"} 1.0',
    ):
        assert line in text
    assert "demo/blind" not in text
    assert "first_token" not in text.replace("first_token,", "")
    metrics.forget_service("demo/chat")
    assert "demo/chat" not in metrics.text().decode()


class Server:
    """A model server's metrics, and a pod of the service that has its address."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.waiting = 0

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/metrics", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _answer(self, _request: web.Request) -> web.Response:
        labels = f'model="{MODEL}",version="1"'
        return web.Response(text=f"nv_inference_pending_request_count{{{labels}}} {self.waiting}\n")


async def a_ready_pod(place: Place) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    path = f"/api/v1/namespaces/{place.namespace}"
    await call(place.client, "POST", f"{path}/serviceaccounts", body=account)
    path = f"{path}/pods"
    labels = {"preamar.dev/inferenceservice": MODEL, "app.kubernetes.io/managed-by": "preamar"}
    body: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "chat-serve-0", "labels": labels},
        "spec": {"containers": [{"name": "triton", "image": "triton"}]},
    }
    await call(place.client, "POST", path, body=body)
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": stamp(datetime.now(UTC))}
    status = {"phase": "Running", "podIP": "127.0.0.1", "conditions": [ready]}
    where = f"{path}/chat-serve-0/status"
    await call(place.client, "PATCH", where, body={"status": status}, content_type=MERGE)


async def reports(place: Place, load: dict[str, Any]) -> None:
    """A gateway's reports, five a second, until cancelled."""
    url, sequence = f"http://127.0.0.1:{place.demand}/demand", 0
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer key"}) as session:
        while True:
            sequence += 1
            services = {f"{place.namespace}/{MODEL}": load}
            body = {"gateway": "g", "sequence": sequence, "services": services}
            async with session.post(url, json=body) as answer:
                assert answer.status == 204
            await asyncio.sleep(0.2)


@pytest.mark.apiserver
async def test_callers_who_bypass_the_gateway_raise_the_size_and_everybody_can_see_why(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witness, "EVERY_SECONDS", 0.5)
    (port,) = free_ports(1)
    object.__setattr__(place.options, "metrics_port", port)
    await place.claim("models")
    load = {"queued": 0, "running": 2, "arrived": 9, "finished": 9, "busySeconds": 1.0}
    async with Server(port) as server, place.operator():
        await place.make("InferenceService", MODEL, SERVICE)
        await place.condition("InferenceService", MODEL, "Ready")
        await a_ready_pod(place)
        reporting = asyncio.create_task(reports(place, load))
        server.waiting = 19

        async def grown() -> bool:
            return (await place.get("InferenceService", MODEL))["spec"]["replicas"] == 3

        await place.until("twenty in flight ask for three", grown)

        async def counted() -> str:
            _, text = await place.probe("/metrics")
            return text if 'decisions_total{reason="DemandMet"} 1.0' in text else ""

        text = await place.until("the change of size is counted", counted)
        server.waiting = 0
        load["arrived"], load["finished"], load["busySeconds"] = 19, 19, 31.0

        async def settled() -> dict[str, Any] | None:
            status = (await place.get("InferenceService", MODEL))["status"]
            return status if "serviceSeconds" in status.get("learned", {}) else None

        status = await place.until("the gateways' seconds are learned", settled)
        reporting.cancel()
        events = await call(place.client, "GET", f"/api/v1/namespaces/{place.namespace}/events")
    name = f"{place.namespace}/{MODEL}"
    assert f'preamar_scaling_demand{{kind="witness",service="{name}"}} 20.0' in text
    assert status["learned"]["serviceSeconds"] == "3.00"
    assert status["decisions"][0]["reason"] == "DemandMet"
    assert "20" in status["decisions"][0]["signal"] or "unknown" in status["decisions"][0]["signal"]
    said = [event["message"] for event in events["items"] if event["reason"] == "DemandMet"]
    assert any("The size is now 3, it was 1: " in message for message in said), said
    assert [start["pod"] for start in status["learned"]["coldStarts"]] == ["chat-serve-0"]
