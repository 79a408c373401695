"""The metric that an HPA follows: what the gateway itself says, served as an external metric.

In a cluster of its own people take Prometheus and an adapter or KEDA (docs/guides/hpa.md). Here a
small server on this machine stands behind the API server for ``external.metrics.k8s.io``; its one
metric, ``preamar_demand``, is the sum of requests queued and in flight in the gateway's /metrics.
"""

import asyncio
import socket
import ssl
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from e2e.cluster import Cluster
from e2e.kube import Json, Kube, condition, until

GROUP, VERSION = "external.metrics.k8s.io", "v1beta1"
API_SERVICE = f"{VERSION}.{GROUP}"
SERVICE = "demand-metric"
PARTS = frozenset({"preamar_gateway_queue_depth", "preamar_gateway_in_flight"})
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def demand(admin_url: str, model: str) -> int:
    """Requests queued and in flight for a model, as the gateway's metrics have it."""
    with OPENER.open(f"{admin_url}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    samples = (
        sample for family in text_string_to_metric_families(text) for sample in family.samples
    )
    return sum(
        int(one.value) for one in samples if one.name in PARTS and one.labels["model"] == model
    )


def resources() -> Json:
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{GROUP}/{VERSION}",
        "resources": [
            {
                "name": "preamar_demand",
                "singularName": "",
                "namespaced": True,
                "kind": "ExternalMetricValueList",
                "verbs": ["get"],
            }
        ],
    }


def answers(admin_url: str) -> web.Application:
    async def look(request: web.Request) -> web.Response:
        label, _, model = request.query.get("labelSelector", "").partition("=")
        if request.match_info["metric"] != "preamar_demand" or label != "model":
            raise web.HTTPNotFound
        value = await asyncio.to_thread(demand, admin_url, model)
        item = {
            "metricName": "preamar_demand",
            "metricLabels": {"model": model},
            "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "value": str(value),
        }
        return web.json_response(
            {
                "kind": "ExternalMetricValueList",
                "apiVersion": f"{GROUP}/{VERSION}",
                "metadata": {},
                "items": [item],
            }
        )

    async def about(_request: web.Request) -> web.Response:
        return web.json_response(resources())

    app = web.Application()
    app.router.add_get(f"/apis/{GROUP}/{VERSION}", about)
    app.router.add_get(f"/apis/{GROUP}/{VERSION}/namespaces/{{namespace}}/{{metric}}", look)
    return app


def certificate(directory: Path) -> ssl.SSLContext:
    """Self-signed: the APIService says not to verify it."""
    key, chain = directory / "metric.key", directory / "metric.crt"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", f"/CN={SERVICE}", "-keyout", key, "-out", chain),
        ],
        check=True,
        capture_output=True,
        timeout=30,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    return context


def towards_nodes(kube: Kube) -> str:
    """This machine's address as the cluster's node sees it."""
    addresses = kube.list("v1", "Node", None)[0]["status"]["addresses"]
    node = next(one["address"] for one in addresses if one["type"] == "InternalIP")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((node, 9))
        return str(probe.getsockname()[0])


@contextmanager
def serving(app: web.Application, address: str, tls: ssl.SSLContext) -> Iterator[int]:
    """Serve from a thread of its own; yields the port."""
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def start() -> int:
        await runner.setup()
        await web.TCPSite(runner, address, 0, ssl_context=tls).start()
        return int(runner.addresses[0][1])

    thread = threading.Thread(target=loop.run_forever, name="demand-metric", daemon=True)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(start(), loop).result(20)
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


def registration(namespace: str, address: str, port: int) -> tuple[Json, Json, Json]:
    """A Service without a selector, where it leads, and the group that it answers for."""
    name = {"name": SERVICE}
    ports = [{"name": "https", "port": 443, "targetPort": port, "protocol": "TCP"}]
    return (
        {"apiVersion": "v1", "kind": "Service", "metadata": name, "spec": {"ports": ports}},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": name | {"labels": {"kubernetes.io/service-name": SERVICE}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": API_SERVICE},
            "spec": {
                "group": GROUP,
                "version": VERSION,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "insecureSkipTLSVerify": True,
                "service": {"namespace": namespace, "name": SERVICE, "port": 443},
            },
        },
    )


@contextmanager
def registered(here: Cluster, kube: Kube, namespace: str, directory: Path) -> Iterator[None]:
    """While the block runs, the cluster has the external metric ``preamar_demand``."""
    address = towards_nodes(kube)
    with serving(answers(here.admin_url), address, certificate(directory)) as port:
        for manifest in registration(namespace, address, port):
            kube.apply(manifest, None if manifest["kind"] == "APIService" else namespace)
        try:

            def available() -> bool:
                found = kube.get("apiregistration.k8s.io/v1", "APIService", API_SERVICE, None)
                return condition(found, "Available").get("status") == "True"

            until(f"the API server reaches this machine at {address}:{port}", 60, available)
            yield
        finally:
            # A group that nobody answers for would keep every namespace from being deleted.
            kube.delete("apiregistration.k8s.io/v1", "APIService", API_SERVICE)
            kube.delete("v1", "Service", SERVICE, namespace)
