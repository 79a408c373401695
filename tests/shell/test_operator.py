"""The operator in this process against a real API server: resources in, objects out.

Holds: shell/login.py, shell/options.py, shell/passes.py, shell/startup.py,
shell/kinds/claims.py, shell/kinds/habits.py, shell/kinds/serving.py, shell/kinds/training.py,
shell/watching/apply_cache.py, shell/watching/crds.py, shell/watching/kopf_settings.py,
shell/watching/mirror.py, cluster/census.py, cluster/lease.py, cluster/live.py
"""

import asyncio
import contextlib
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from e2e.clusters.bare import api_server, free_ports
from preamar.cluster.call import MERGE, call
from preamar.cluster.connect import connect
from preamar.cluster.kinds import PLURALS, collection, location
from preamar.cluster.port import ClusterError
from preamar.core.plan import Ref
from preamar.shell.options import Options
from preamar.shell.startup import run

pytestmark = pytest.mark.apiserver

GROUP = "preamar.dev/v1alpha1"
CRDS = Path(__file__).resolve().parents[2] / "crds"
CHILDREN = (
    ("apps/v1", "Deployment"),
    ("v1", "Service"),
    ("policy/v1", "PodDisruptionBudget"),
    ("batch/v1", "Job"),
)


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    log = tmp_path_factory.mktemp("audit") / "audit.log"
    with api_server(audit_log=log) as kubeconfig:
        yield str(kubeconfig), log


class Place:
    """A namespace, an operator that watches it, and what is seen there."""

    def __init__(self, client: Any, kubeconfig: str, audit: Path, directory: Path) -> None:
        self.client, self.audit = client, audit
        self.namespace = f"op-{uuid.uuid4().hex[:8]}"
        self.probes, self.demand = free_ports(2)
        (directory / "internal-key").write_text("key")
        self.options = Options(
            kubeconfig=kubeconfig,
            namespaces=(self.namespace,),
            lease_namespace=self.namespace,
            identity="operator-0",
            secrets=directory,
            host="127.0.0.1",
            probe_port=self.probes,
            demand_port=self.demand,
            workers=4,
        )

    @contextlib.asynccontextmanager
    async def operator(self) -> AsyncIterator[None]:
        """The operator runs; ended as SIGTERM would."""
        stopping = asyncio.Event()
        task = asyncio.create_task(run(self.options, stopping))
        try:
            yield
        finally:
            stopping.set()
            async with asyncio.timeout(15):
                assert await task == 0

    async def make(self, kind: str, name: str, spec: dict[str, Any], api: str = GROUP) -> None:
        body = {"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": spec}
        path = collection(api, PLURALS[kind], self.namespace)
        await call(self.client, "POST", path, body=body)

    async def claim(self, name: str) -> None:
        spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
        await self.make("PersistentVolumeClaim", name, spec, "v1")

    async def get(self, kind: str, name: str, api: str = GROUP) -> dict[str, Any]:
        return await call(self.client, "GET", location(Ref(api, kind, self.namespace, name)))

    async def children(self) -> dict[str, dict[str, Any]]:
        found = {}
        for api, kind in CHILDREN:
            path = collection(api, PLURALS[kind], self.namespace)
            for item in (await call(self.client, "GET", path))["items"]:
                found[f"{kind}/{item['metadata']['name']}"] = item
        return found

    async def until(self, what: str, true: Any, seconds: float = 20) -> Any:
        last: Any = None
        try:
            async with asyncio.timeout(seconds):
                while not (last := await true()):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"not within {seconds} s: {what}") from None
        return last

    async def condition(self, kind: str, name: str, condition: str) -> dict[str, Any]:
        """A condition, once the operator has judged this generation."""

        async def judged() -> dict[str, Any] | None:
            body = await self.get(kind, name)
            for found in (body.get("status") or {}).get("conditions", ()):
                if found["type"] == condition:
                    current = found["observedGeneration"] == body["metadata"]["generation"]
                    return found if current else None
            return None

        return await self.until(f"{kind} {name} has {condition}", judged)

    async def report(self, sequence: int, queued: int, name: str) -> None:
        load = {"queued": queued, "running": 0, "arrived": queued}
        body = {
            "gateway": "g",
            "sequence": sequence,
            "services": {f"{self.namespace}/{name}": load},
        }
        url = f"http://127.0.0.1:{self.demand}/demand"
        headers = {"Authorization": "Bearer key"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, json=body, headers=headers) as answer,
        ):
            assert answer.status == 204

    async def probe(self, path: str) -> tuple[int, str]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.probes}{path}") as answer,
        ):
            return answer.status, await answer.text()

    def written(self, agent: str) -> list[str]:
        """Writes in this namespace by a user agent, the Lease's left out; from the audit log."""
        found = []
        for line in self.audit.read_text().splitlines():
            event = json.loads(line)
            about = event.get("objectRef") or {}
            if (
                event["verb"] in {"create", "update", "patch", "delete", "deletecollection"}
                and about.get("namespace") == self.namespace
                and about.get("resource") != "leases"
                and agent in event.get("userAgent", "").lower()
            ):
                found.append(f"{event['verb']} {about['resource']} {about.get('subresource', '')}")
        return found


@pytest.fixture
async def place(audited: tuple[str, Path], tmp_path: Path) -> AsyncIterator[Place]:
    kubeconfig, audit = audited
    async with connect(kubeconfig) as client:
        for file in sorted(CRDS.glob("*.yaml")):
            crd = yaml.safe_load(file.read_text())
            path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
            with contextlib.suppress(Exception):
                await call(client, "POST", path, body=crd)
        place = Place(client, kubeconfig, audit, tmp_path)
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": place.namespace}}
        await call(client, "POST", "/api/v1/namespaces", body=body)
        yield place


SERVICE = {"model": {"uri": "pvc://models/minilm"}, "accelerator": {"type": "CPU"}}
JOB = {
    "model": {"preset": "gpt-tiny"},
    "batch": {"global": 8},
    "accelerator": {"type": "CPU"},
    "workers": {"replicas": 2, "min": 1, "max": 2},
    "data": {"sources": [{"name": "books", "uri": "pvc://models/books", "weight": "1"}]},
    "checkpoint": {"uri": "pvc://models/run"},
    "steps": 10,
}


async def test_a_service_becomes_its_children_and_kopf_writes_nothing(place: Place) -> None:
    await place.claim("models")
    async with place.operator():
        await place.make("InferenceService", "chat", SERVICE)
        await place.condition("InferenceService", "chat", "Ready")
        children = await place.children()
        before = await place.get("InferenceService", "chat")
    assert set(children) == {
        "Deployment/chat-serve",
        "Service/chat-serve",
        "PodDisruptionBudget/chat-serve",
    }
    owner = before["metadata"]["uid"]
    for child in children.values():
        assert child["metadata"]["ownerReferences"][0]["uid"] == owner
        managers = {entry["manager"] for entry in child["metadata"]["managedFields"]}
        assert managers == {"preamar/objects"}
    assert "finalizers" not in before["metadata"]
    assert "annotations" not in before["metadata"]
    managers = {entry["manager"] for entry in before["metadata"]["managedFields"]}
    assert "preamar/status" in managers
    assert not {manager for manager in managers if "kopf" in manager}
    assert place.written("kopf") == []
    assert place.written("preamar")


async def test_a_training_job_becomes_its_first_attempt(place: Place) -> None:
    await place.claim("models")
    async with place.operator():
        await place.make("TrainingJob", "gpt", JOB)
        await place.until("its Job exists", lambda: _has(place, "Job/gpt-1"))
        assert "Service/gpt-ranks" in await place.children()
        stalled = await place.condition("TrainingJob", "gpt", "Stalled")
    assert stalled["status"] == "False"
    assert place.written("kopf") == []


async def test_a_restart_changes_nothing(place: Place) -> None:
    await place.claim("models")
    async with place.operator():
        await place.make("InferenceService", "chat", SERVICE)
        await place.condition("InferenceService", "chat", "Ready")
        await asyncio.sleep(1)
    before = await _versions(place)
    async with place.operator():
        await place.until("a pass is done", lambda: _passed(place))
        await asyncio.sleep(1)
    assert await _versions(place) == before


async def test_a_pushed_report_becomes_a_size_through_scale(place: Place) -> None:
    await place.claim("models")
    async with place.operator():
        await place.make("InferenceService", "chat", SERVICE)
        await place.condition("InferenceService", "chat", "Ready")
        await asyncio.sleep(0.5)
        started = asyncio.get_running_loop().time()
        await place.report(1, 25, "chat")
        await place.until("the size is four", lambda: _sized(place, 4), 5)
        took = asyncio.get_running_loop().time() - started
        found = await place.get("InferenceService", "chat")
    assert took < 2, took
    scaler = [e for e in found["metadata"]["managedFields"] if e["manager"] == "preamar/scaler"]
    assert scaler[0]["subresource"] == "scale"
    assert place.written("preamar").count("patch inferenceservices scale") == 1


async def test_a_child_that_is_deleted_comes_back_and_one_that_is_bent_is_put_right(
    place: Place,
) -> None:
    await place.claim("models")
    async with place.operator():
        await place.make("InferenceService", "chat", SERVICE)
        await place.condition("InferenceService", "chat", "Ready")
        budget = location(Ref("policy/v1", "PodDisruptionBudget", place.namespace, "chat-serve"))
        await call(place.client, "DELETE", budget)
        await place.until("it is back", lambda: _has(place, "PodDisruptionBudget/chat-serve"))
        deployment = location(Ref("apps/v1", "Deployment", place.namespace, "chat-serve"))
        bend = {"spec": {"replicas": 7}}
        await call(place.client, "PATCH", deployment, body=bend, content_type=MERGE)

        async def straight() -> bool:
            found = await call(place.client, "GET", deployment)
            return bool(found["spec"]["replicas"] == 1)

        await place.until("it is put right", straight)


async def test_a_missing_volume_is_said_and_nothing_is_made_until_it_is_there(
    place: Place,
) -> None:
    async with place.operator():
        await place.make("InferenceService", "chat", SERVICE)
        stalled = await place.condition("InferenceService", "chat", "Stalled")
        assert stalled["status"] == "True"
        assert "models" in stalled["message"]
        assert await place.children() == {}
        await place.claim("models")
        await place.until("it goes on", lambda: _has(place, "Deployment/chat-serve"), 30)


async def test_what_the_api_server_refuses_is_told_and_not_sent_again_and_again(
    place: Place,
) -> None:
    await place.claim("models")
    quota = {"hard": {"count/services": "0"}}
    path = f"/api/v1/namespaces/{place.namespace}/resourcequotas"
    body = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none"},
        "spec": quota,
    }
    await call(place.client, "POST", path, body=body)
    status = {"status": {"hard": {"count/services": "0"}, "used": {"count/services": "0"}}}
    await call(place.client, "PATCH", f"{path}/none/status", body=status, content_type=MERGE)
    async with place.operator():
        await place.make("InferenceService", "chat", SERVICE)

        async def told() -> bool:
            body = await place.get("InferenceService", "chat")
            conditions = (body.get("status") or {}).get("conditions", ())
            return any("quota" in c.get("message", "") for c in conditions)

        await place.until("the user is told of the quota", told)
        await asyncio.sleep(2)
    tries = [line for line in place.written("preamar") if line.split()[1] == "services"]
    assert len(tries) == 1


async def test_probes_and_metrics_answer(place: Place) -> None:
    await place.claim("models")
    async with place.operator():
        await place.until("ready", lambda: _ready(place))
        await place.make("InferenceService", "chat", SERVICE)
        await place.condition("InferenceService", "chat", "Ready")
        assert (await place.probe("/healthz"))[0] == 200
        _, text = await place.probe("/metrics")
    assert 'preamar_reconcile_seconds_count{kind="InferenceService"}' in text
    assert f'service="{place.namespace}/chat"' in text
    assert 'preamar_api_requests_total{outcome="ok",verb="apply"}' in text
    assert "preamar_leader 1.0" in text


async def test_after_the_resource_is_deleted_nothing_is_made_anew(place: Place) -> None:
    await place.claim("models")
    async with place.operator():
        await place.make("InferenceService", "chat", SERVICE)
        await place.condition("InferenceService", "chat", "Ready")
        where = location(Ref(GROUP, "InferenceService", place.namespace, "chat"))
        await call(place.client, "DELETE", where)
        for name in (await place.children()).values():
            ref = Ref(_api(name), _kind(name), place.namespace, name["metadata"]["name"])
            await call(place.client, "DELETE", location(ref))
        await asyncio.sleep(2)
    assert await place.children() == {}


async def test_sigterm_gives_the_lease_back_and_ends_well(place: Place) -> None:
    options = place.options
    environment = os.environ | {
        "KUBECONFIG": str(options.kubeconfig),
        "PREAMAR_NAMESPACE": place.namespace,
        "PREAMAR_WATCH_NAMESPACE": place.namespace,
        "PREAMAR_SECRETS_DIR": str(options.secrets),
        "PREAMAR_HOST": "127.0.0.1",
        "PREAMAR_PROBE_PORT": str(place.probes),
        "PREAMAR_DEMAND_PORT": str(place.demand),
        "POD_NAME": "operator-7",
        "PYTHONPATH": str(CRDS.parent / "operator"),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "preamar.main", "operator", env=environment
    )
    lease = location(Ref("coordination.k8s.io/v1", "Lease", place.namespace, "preamar-operator"))

    async def holder() -> str:
        with contextlib.suppress(ClusterError):
            return str((await call(place.client, "GET", lease))["spec"]["holderIdentity"])
        return ""

    try:
        await place.until("it leads", lambda: _is(holder, "operator-7"), 60)
        process.terminate()
        await place.until("the Lease is free", lambda: _is(holder, ""), 5)
        async with asyncio.timeout(15):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()


async def _is(ask: Any, wanted: str) -> bool:
    return bool(await ask() == wanted)


def _api(found: dict[str, Any]) -> str:
    return next(api for api, kind in CHILDREN if kind == _kind(found))


def _kind(found: dict[str, Any]) -> str:
    if "template" in found["spec"]:
        return "Deployment"
    return "Service" if "ports" in found["spec"] else "PodDisruptionBudget"


async def _has(place: Place, name: str) -> bool:
    return name in await place.children()


async def _sized(place: Place, replicas: int) -> bool:
    return bool((await place.get("InferenceService", "chat"))["spec"]["replicas"] == replicas)


async def _ready(place: Place) -> bool:
    with contextlib.suppress(aiohttp.ClientError):
        return (await place.probe("/readyz"))[0] == 200
    return False


async def _passed(place: Place) -> bool:
    with contextlib.suppress(aiohttp.ClientError):
        text = (await place.probe("/metrics"))[1]
        return 'preamar_reconcile_seconds_count{kind="InferenceService"}' in text
    return False


async def _versions(place: Place) -> dict[str, str]:
    found = await place.children()
    found["service"] = await place.get("InferenceService", "chat")
    return {name: body["metadata"]["resourceVersion"] for name, body in found.items()}
