"""What the operator hears, and when."""

import asyncio
import time

from aiohttp import web

from .conftest import endpoints, running_gateway, service, until
from .fake_triton import FakeTriton
from .test_serving import ask


async def test_the_operator_hears_of_a_first_waiter_at_once_and_of_zero_each_second(tmp_path, http):
    heard = []

    async def demand(request):
        heard.append((time.monotonic(), request.headers["Authorization"], await request.json()))
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/demand", demand)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    slices = endpoints("gpt", port)
    slices[0]["metadata"] = {
        "namespace": "preamar-system", "name": "operator",
        "labels": {"kubernetes.io/service-name": "preamar-operator"},
    }  # fmt: skip
    slices[0]["ports"] = [{"name": "demand", "port": port}]
    async with running_gateway(tmp_path) as rig, FakeTriton() as fake:
        rig.gateway.knowledge.heard.replace("operators", slices)
        rig.know([service("gpt"), service("other")], [])
        await until(lambda: len(heard) >= 2)
        assert all(body["services"]["demo/gpt"]["queued"] == 0 for _, _, body in heard)
        before, asked_at = len(heard), time.monotonic()
        tasks = [asyncio.create_task(ask(http, rig)) for _ in range(50)]
        await until(lambda: heard[-1][2]["services"]["demo/gpt"]["queued"] > 0)
        assert heard[-1][0] - asked_at < 0.9
        assert heard[-1][2]["services"]["demo/other"] == {"queued": 0, "running": 0, "arrived": 0}
        await until(lambda: heard[-1][2]["services"]["demo/gpt"]["queued"] == 50)
        rig.know(slices=endpoints("gpt", fake.port))
        await asyncio.gather(*tasks)
        await until(
            lambda: (
                heard[-1][2]["services"]["demo/gpt"] == {"queued": 0, "running": 0, "arrived": 50}
            )
        )
        assert len(heard) - before < 30
        assert heard[-1][1] == "Bearer " + "internal" * 4
        sequences = [body["sequence"] for _, _, body in heard]
        assert sequences == sorted(set(sequences))
    assert heard[-1][2]["leaving"] is True
    await runner.cleanup()
