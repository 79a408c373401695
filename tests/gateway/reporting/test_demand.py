"""What the operator hears, and when.

Holds: gateway/reporting/demand.py, gateway/discovery/resources.py
"""

import asyncio
import json

import pytest
from aiohttp import web

from preamar.gateway.discovery.resources import model_of
from preamar.gateway.reporting import demand as demands
from preamar.gateway.reporting.demand import Reporter
from preamar.gateway.routing.queue import ModelQueue
from preamar.gateway.settings import UNBOUNDED_TOKENS
from tests.gateway.conftest import endpoints, load, running_gateway, service, until
from tests.gateway.fake_triton import FakeTriton
from tests.gateway.test_serving import ask


async def test_the_operator_hears_of_a_first_waiter_at_once_and_of_zero_each_second(
    tmp_path, http, monkeypatch
):
    heard = []

    async def demand(request):
        heard.append((request.headers["Authorization"], await request.json()))
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
    monkeypatch.setattr(demands, "EVERY_SECONDS", 0.1)
    async with running_gateway(tmp_path) as rig, FakeTriton() as fake:
        rig.gateway.watcher.snapshot.replace("operators", slices)
        rig.know([service("gpt"), service("other")], [])
        await until(lambda: len(heard) >= 2)
        assert all(body["services"]["demo/gpt"]["queued"] == 0 for _, body in heard)
        # From here on what it hears within this test it hears at once.
        monkeypatch.setattr(demands, "EVERY_SECONDS", 3600.0)
        before = len(heard)
        tasks = [asyncio.create_task(ask(http, rig)) for _ in range(50)]
        await until(lambda: heard[-1][1]["services"]["demo/gpt"]["queued"] > 0)
        assert heard[-1][1]["services"]["demo/other"] == {"queued": 0, "running": 0, "arrived": 0}
        await until(lambda: heard[-1][1]["services"]["demo/gpt"]["queued"] == 50)
        rig.know(slices=endpoints("gpt", fake.port))
        await asyncio.gather(*tasks)
        await until(lambda: heard[-1][1]["services"]["demo/gpt"]["queued"] == 0)
        rig.gateway.reporter.kick()
        await until(
            lambda: (
                heard[-1][1]["services"]["demo/gpt"].items()
                >= {"queued": 0, "running": 0, "arrived": 50, "finished": 50}.items()
            )
        )
        assert len(heard) - before < 30
        assert heard[-1][0] == "Bearer " + "internal" * 4
        sequences = [body["sequence"] for _, body in heard]
        assert sequences == sorted(set(sequences))
    assert heard[-1][1]["leaving"] is True
    await runner.cleanup()


async def test_what_runs_is_told_by_pod_with_the_tokens_that_may_still_come(rig, http):
    async with FakeTriton(pause=0.01) as fake:
        fake.gate.clear()
        rig.know([service("gpt")], endpoints("gpt", fake.port))
        line = rig.line("gpt")
        tasks = [asyncio.create_task(ask(http, rig, max_tokens=n)) for n in (100, 30)]
        await until(lambda: len(fake.requests) == 2)
        assert load(line)["pods"] == {"127.0.0.1": {"running": 2, "tokensLeft": 130}}
        fake.gate.set()
        await asyncio.gather(*tasks)
        told = load(line)
        assert "pods" not in told
        assert (told["finished"], told["firstTokens"]) == (2, 2)
        assert 0 < told["firstTokenSeconds"] < told["busySeconds"]


async def test_tokens_that_were_made_are_no_longer_expected(rig, http):
    async with FakeTriton(words=["word "] * 40, pause=0.02) as fake:
        rig.know([service("gpt")], endpoints("gpt", fake.port))
        line = rig.line("gpt")
        asked = asyncio.create_task(ask(http, rig, max_tokens=100, stream=True))
        await until(lambda: (load(line).get("pods") or {}).get("127.0.0.1", {}).get("running"))
        seen = []
        while not asked.done():
            seen += [pod["tokensLeft"] for pod in load(line).get("pods", {}).values()]
            await asyncio.sleep(0.01)
        assert seen == sorted(seen, reverse=True)
        assert seen[0] > seen[-1] >= 60
        assert line.replicas.popitem()[1].tokens_left == 0


async def test_a_request_without_a_bound_counts_as_what_its_model_can_write(rig, http):
    async with FakeTriton(template="{{ messages }}") as fake:
        fake.gate.clear()
        rig.know([service("gpt"), service("raw")], endpoints("gpt", fake.port))
        messages = [{"role": "user", "content": "hi"}]
        chat = asyncio.create_task(ask(http, rig, "/v1/chat/completions", messages=messages))
        await until(lambda: fake.requests)
        assert load(rig.line("gpt"))["pods"]["127.0.0.1"]["tokensLeft"] == 64
        body = {"REQUEST": json.dumps({"prompt": "hi"})}
        url = f"{rig.url}/v2/models/gpt/generate_stream"
        relayed = asyncio.create_task(http.post(url, json=body, headers=rig.auth))
        await until(lambda: len(fake.requests) == 2)
        assert load(rig.line("gpt"))["pods"]["127.0.0.1"]["tokensLeft"] == 64 + UNBOUNDED_TOKENS
        fake.gate.set()
        await chat
        (await relayed).close()


async def test_what_was_refused_or_cut_says_nothing_of_how_long_a_request_takes(rig, http):
    async with FakeTriton() as fake:
        rig.know([service("gpt"), service("vec", task="Embed")], [])
        rig.know(slices=[*endpoints("gpt", fake.port), *endpoints("vec", fake.port)])
        fake.die_after = 1
        assert (await ask(http, rig))[0] >= 500
        fake.die_after, fake.status = None, 500
        assert (await ask(http, rig, "/v1/embeddings", model="vec", input="hi"))[0] >= 500
        assert [load(rig.line(n)).get("finished") for n in ("gpt", "vec")] == [None, None]
        fake.status = 200
        assert (await ask(http, rig, "/v1/embeddings", model="vec", input="hi"))[0] == 200
        assert load(rig.line("vec"))["finished"] == 1
        assert "firstTokens" not in load(rig.line("vec"))


async def test_the_first_in_line_says_how_long_it_has_waited(rig, http):
    async with FakeTriton() as fake:
        rig.know([service("gpt")], [])
        line = rig.line("gpt")
        assert "oldestWait" not in load(line)
        first = asyncio.create_task(ask(http, rig))
        await until(lambda: line.oldest_wait > 0.1)
        second = asyncio.create_task(ask(http, rig))
        await until(lambda: len(line.hold) == 2)
        assert load(line)["oldestWait"] >= 0.1
        before = line.oldest_wait
        first.cancel()
        await until(lambda: len(line.hold) == 1)
        assert line.oldest_wait < before
        rig.know(slices=endpoints("gpt", fake.port))
        await second
        assert line.oldest_wait == 0


@pytest.mark.looptime
@pytest.mark.parametrize("pause", [0.5, 0.95, 1.05])
async def test_a_burst_is_told_as_it_doubles_and_not_at_each_request(monkeypatch, pause):
    told = []

    async def post(_address, body):
        queued = json.loads(body)["services"]["demo/gpt"]["queued"]
        told.append((asyncio.get_running_loop().time(), queued))
        return 204

    line = ModelQueue(model_of(service("gpt")), lambda _line: reporter.kick())
    reporter = Reporter("g", b"key", lambda: [line], lambda: (("127.0.0.1", 1),))
    monkeypatch.setattr(reporter, "_post", post)
    reporting = asyncio.create_task(reporter.run())
    loop = asyncio.get_running_loop()
    for _ in range(200):  # a burst before must not slow this one
        reporter.kick()
        await asyncio.sleep(0.001)
    await asyncio.sleep(pause)
    began = loop.time()
    waiters = [asyncio.create_task(line.enter(line.turn("acme"))) for _ in range(8)]
    await asyncio.sleep(0.01)
    assert min(at for at, queued in told if queued == 8) <= began + 0.0031
    for _ in range(92):
        waiters.append(asyncio.create_task(line.enter(line.turn("acme"))))
        await asyncio.sleep(0.002)
    for doubled in (16, 32, 64):
        came = began + 0.01 + 0.002 * (doubled - 9)
        assert min(at for at, queued in told if queued >= doubled) <= came + 0.0501
    assert len([at for at, _ in told if at >= began]) <= 8
    for waiter in waiters:
        waiter.cancel()
    reporting.cancel()


@pytest.mark.looptime
async def test_a_queue_that_comes_and_goes_all_the_time_costs_twenty_reports_a_second(monkeypatch):
    told = []

    async def post(_address, _body):
        told.append(asyncio.get_running_loop().time())
        return 204

    reporter = Reporter("g", b"key", list, lambda: (("127.0.0.1", 1),))
    monkeypatch.setattr(reporter, "_post", post)
    reporting = asyncio.create_task(reporter.run())
    began = asyncio.get_running_loop().time()
    for _ in range(2000):
        reporter.kick()
        await asyncio.sleep(0.001)
    reporting.cancel()
    seconds = asyncio.get_running_loop().time() - began
    assert 18 * seconds <= len(told) <= 20 * seconds + 10  # the first few are told sooner


@pytest.mark.looptime
async def test_each_sleeping_models_first_call_is_told_soon_in_a_burst_of_others(monkeypatch):
    told = {}

    async def post(_address, body):
        for name, told_of in json.loads(body)["services"].items():
            if told_of["queued"]:
                told.setdefault(name, asyncio.get_running_loop().time())
        return 204

    lines = [
        ModelQueue(model_of(service(f"m{number}")), lambda line: reporter.kick(first=line.begins))
        for number in range(8)
    ]
    reporter = Reporter("g", b"key", lambda: lines, lambda: (("127.0.0.1", 1),))
    monkeypatch.setattr(reporter, "_post", post)
    reporting = asyncio.create_task(reporter.run())
    await asyncio.sleep(0.5)
    began, waiters = {}, []
    for line in lines:
        began[line.model.service] = asyncio.get_running_loop().time()
        waiters.append(asyncio.create_task(line.enter(line.turn("acme"))))
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.1)
    assert max(told[name] - at for name, at in began.items()) <= 0.0031
    for waiter in waiters:
        waiter.cancel()
    reporting.cancel()


@pytest.mark.looptime
async def test_callers_of_a_sleeping_model_who_come_and_go_cost_few_reports(monkeypatch):
    told = []

    async def post(_address, _body):
        told.append(asyncio.get_running_loop().time())
        return 204

    line = ModelQueue(model_of(service("gpt")), lambda line: reporter.kick(first=line.begins))
    reporter = Reporter("g", b"key", lambda: [line], lambda: (("127.0.0.1", 1),))
    monkeypatch.setattr(reporter, "_post", post)
    reporting = asyncio.create_task(reporter.run())
    began = asyncio.get_running_loop().time()
    for _ in range(1000):
        waiter = asyncio.create_task(line.enter(line.turn("acme")))
        await asyncio.sleep(0.001)
        waiter.cancel()
        await asyncio.sleep(0.001)
    reporting.cancel()
    seconds = asyncio.get_running_loop().time() - began
    assert 18 * seconds <= len(told) <= 20 * seconds + 10


async def test_an_operator_that_is_gone_is_let_go_and_a_new_one_is_told(tmp_path, monkeypatch):
    heard, dropped = [], asyncio.Event()

    async def demand(request):
        heard.append(await request.json())
        return web.Response(status=204)

    class Seen(asyncio.Protocol):
        def connection_lost(self, exc):
            dropped.set()

    app = web.Application()
    app.router.add_post("/demand", demand)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    old = await asyncio.get_running_loop().create_server(Seen, "127.0.0.1", 0)
    addresses = [("127.0.0.1", old.sockets[0].getsockname()[1])]
    reporter = Reporter("g", b"key", list, lambda: tuple(addresses))
    monkeypatch.setattr(demands, "PUSH_SECONDS", 0.1)
    reporting = asyncio.create_task(reporter.run())
    await until(lambda: reporter._busy)
    # What was begun is given up soon; the new one may take its time.
    monkeypatch.setattr(demands, "PUSH_SECONDS", 60.0)
    addresses[:] = [("127.0.0.1", port)]
    reporter.kick()
    await until(lambda: heard)
    await asyncio.wait_for(dropped.wait(), 30)
    reporting.cancel()
    await asyncio.gather(reporting, return_exceptions=True)
    assert heard[-1]["leaving"] is True
    assert not reporter._pools
    old.close()
    await runner.cleanup()
