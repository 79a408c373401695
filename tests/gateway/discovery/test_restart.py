"""A gateway that starts while the API server is away serves what was last known, keys included; when
the API server is back it follows what is true by then.

Holds: gateway/discovery/catalog.py, gateway/discovery/watcher.py, gateway/endpoints/health.py
"""

import asyncio
import contextlib
import json

import pytest
from aiohttp import web

from preamar.cluster import watch as watching
from preamar.gateway.discovery import watcher
from tests.gateway.conftest import endpoints, running_gateway, service, until
from tests.gateway.fake_triton import FakeTriton

ASK = {"model": "gpt", "prompt": "hi"}
KINDS = {
    "inferenceservices": "InferenceService",
    "endpointslices": "EndpointSlice",
    "tenants": "Tenant",
}


class ApiServer:
    """Lists what it has and watches without news; of the kinds in ``hangs`` it never answers."""

    def __init__(self):
        self.objects = {plural: [] for plural in KINDS}
        self.hangs = set()
        self.port = 0

    @contextlib.asynccontextmanager
    async def running(self):
        app = web.Application()
        app.router.add_get("/apis/{group}/{version}/{rest:.*}", self._answer)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            await runner.cleanup()

    async def _answer(self, request):
        plural = request.match_info["rest"].rpartition("/")[2]
        if plural in self.hangs:
            await asyncio.sleep(3600)
        if "watch" in request.query:
            response = web.StreamResponse()
            await response.prepare(request)
            await asyncio.sleep(3600)
        ours = "inferenceservice" in request.query.get("labelSelector", "inferenceservice")
        return web.json_response({
            "kind": f"{KINDS[plural]}List",
            "metadata": {"resourceVersion": "5"},
            "items": self.objects[plural] if ours else [],
        })  # fmt: skip

    def kubeconfig(self, path):
        path.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        }))  # fmt: skip
        return path


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(watcher, "SAVE_SECONDS", 0.05)
    monkeypatch.setattr(watching, "LONGEST_PAUSE", 0.05)


async def ask(http, rig, auth, model="gpt"):
    async with http.post(
        rig.url + "/v1/completions", json=ASK | {"model": model}, headers=auth
    ) as answer:
        return answer.status


@pytest.mark.parametrize("how", ["refuses connections", "never answers"])
async def test_what_was_known_is_served_after_a_restart_and_then_what_is_true(tmp_path, http, how):
    api = ApiServer()
    async with FakeTriton() as fake:
        api.objects |= {
            "inferenceservices": [service("gpt")],
            "endpointslices": endpoints("gpt", fake.port),
        }
        async with api.running():
            config = api.kubeconfig(tmp_path / "kubeconfig")
            async with running_gateway(tmp_path, kubeconfig=config) as rig:
                await until(lambda: "gpt" in rig.gateway.registry.queues)
                auth = rig.auth
                assert await ask(http, rig, auth) == 200
                await until(rig.gateway.settings.snapshot.exists)
            api.hangs = set(KINDS) if how == "never answers" else set()
        async with contextlib.AsyncExitStack() as away:
            if api.hangs:
                await away.enter_async_context(api.running())
            async with running_gateway(tmp_path, kubeconfig=config) as rig:
                async with http.get(rig.url + "/readyz") as answer:
                    assert answer.status == 200
                assert [await ask(http, rig, auth) for _ in range(3)] == [200] * 3
                assert await ask(http, rig, auth, "other") == 404
                api.hangs = set()
                api.objects["inferenceservices"] = [service("other")]
                api.objects["endpointslices"] = endpoints("other", fake.port)
                await away.aclose()
                async with api.running():
                    await until(lambda: "other" in rig.gateway.registry.queues)
                    assert await ask(http, rig, auth, "other") == 200
                    assert await ask(http, rig, auth) == 404


async def test_without_a_snapshot_it_is_not_ready_until_it_has_heard_of_all(tmp_path, http):
    api = ApiServer()
    async with api.running():
        config = api.kubeconfig(tmp_path / "kubeconfig")
    api.objects["inferenceservices"] = [service("gpt")]
    async with running_gateway(tmp_path, kubeconfig=config) as rig:
        async with http.get(rig.url + "/readyz") as answer:
            assert (answer.status, await answer.text()) == (503, "no models are known yet\n")
        async with api.running():
            await until(lambda: rig.gateway.health.ready)
            async with http.get(rig.url + "/v1/models", headers=rig.auth) as answer:
                assert [model["id"] for model in (await answer.json())["data"]] == ["gpt"]


@pytest.mark.parametrize("silent", KINDS)
async def test_half_a_picture_is_not_served(tmp_path, http, silent):
    api = ApiServer()
    api.hangs = {silent}
    api.objects["inferenceservices"] = [service("gpt")]
    async with api.running():
        config = api.kubeconfig(tmp_path / "kubeconfig")
        async with running_gateway(tmp_path, kubeconfig=config) as rig:
            await until(lambda: rig.gateway.watcher._synced)
            await asyncio.sleep(0.15)
            assert not rig.gateway.registry.queues
            assert not rig.gateway.health.ready
            assert not rig.gateway.settings.snapshot.exists()


async def test_a_torn_snapshot_is_not_served(tmp_path, http):
    (tmp_path / "s.json").write_text('{"format": 1, "services": [{"meta')
    api = ApiServer()
    async with api.running():
        config = api.kubeconfig(tmp_path / "kubeconfig")
    async with (
        running_gateway(tmp_path, kubeconfig=config) as rig,
        http.get(rig.url + "/readyz") as answer,
    ):
        assert answer.status == 503
