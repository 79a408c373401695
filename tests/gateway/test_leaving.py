"""What happens to requests when a replica leaves: nothing new is sent there, what has not begun goes
elsewhere, and what is cut is told so."""

import asyncio
import json
import random

import grpc
import grpc.aio
import pytest
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc as stubs

from preamar.gateway.wire import Exchange, Pool

from .conftest import endpoints, service, until
from .fake_triton import FakeTriton

ASK = {"model": "gpt", "prompt": "hi"}


async def post(http, rig, path, body):
    async with http.post(rig.url + path, json=body, headers=rig.auth) as answer:
        return answer.status, await answer.text()


def ask(http, rig, **more):
    return asyncio.create_task(post(http, rig, "/v1/completions", ASK | more))


def leaves(fake, name="gpt"):
    """Kubernetes says that the pod serves on and terminates."""
    return endpoints(name, fake.port, ready=False, terminating=True)


async def test_a_leaving_replica_gets_nothing_new_though_it_serves_on(rig, http):
    async with FakeTriton() as a, FakeTriton() as b:
        rig.know([service("gpt")], leaves(a) + endpoints("gpt", b.port))
        answers = await asyncio.gather(*(ask(http, rig) for _ in range(20)))
        assert {status for status, _ in answers} == {200}
        assert (len(a.requests), len(b.requests)) == (0, 20)


async def test_nobody_goes_to_the_last_replica_once_it_leaves_but_waits_for_the_next(rig, http):
    async with FakeTriton() as a, FakeTriton() as b:
        rig.know([service("gpt")], leaves(a))
        waiting = ask(http, rig)
        await until(lambda: len(rig.line("gpt").hold) == 1)
        rig.know(slices=leaves(a) + endpoints("gpt", b.port))
        assert (await waiting)[0] == 200
        assert (len(a.requests), len(b.requests)) == (0, 1)


async def test_a_place_on_a_replica_that_left_before_it_was_used_is_given_back(rig, http):
    async with FakeTriton() as a, FakeTriton() as b:
        rig.know([service("gpt")], [])
        waiting = ask(http, rig)
        await until(lambda: len(rig.line("gpt").hold) == 1)
        rig.know(slices=endpoints("gpt", a.port))  # hands it the place
        rig.know(slices=leaves(a))
        await until(lambda: len(rig.line("gpt").hold) == 1)
        assert rig.line("gpt").running == 0
        rig.know(slices=endpoints("gpt", b.port))
        assert (await waiting)[0] == 200
        assert (len(a.requests), len(b.requests)) == (0, 1)


async def test_nothing_is_sent_over_a_connection_that_opens_after_the_replica_left(
    rig, http, monkeypatch
):
    connecting, real = asyncio.Event(), Pool.connect

    async def slowly(pool):
        if pool.host.endswith(str(a.port).encode()):
            connecting.set()
            await until(lambda: pool._retired)
        return await real(pool)

    monkeypatch.setattr(Pool, "connect", slowly)
    async with FakeTriton() as a, FakeTriton() as b:
        rig.know([service("gpt")], endpoints("gpt", a.port))
        asked = ask(http, rig)
        await connecting.wait()
        rig.know(slices=leaves(a) + endpoints("gpt", b.port))
        assert (await asked)[0] == 200
        assert (len(a.requests), len(b.requests)) == (0, 1)


async def test_the_rest_of_a_request_of_several_parts_goes_elsewhere(rig, http):
    async with FakeTriton() as a, FakeTriton() as b:
        a.gate.clear()
        one_by_one = {"runtime": {"batching": {"maxBatchSize": 1}}}
        rig.know([service("mini", "Embed", **one_by_one)], endpoints("mini", a.port))
        texts = {"model": "mini", "input": ["a", "b b", "c c c"]}
        asked = asyncio.create_task(post(http, rig, "/v1/embeddings", texts))
        await until(lambda: a.requests)
        rig.know(slices=leaves(a, "mini") + endpoints("mini", b.port))
        a.gate.set()
        status, text = await asked
        assert status == 200
        assert [d["embedding"][0] for d in json.loads(text)["data"]] == [1.0, 3.0, 5.0]
        assert (len(a.requests), len(b.requests)) == (1, 2)


class SlowToTell(FakeTriton):
    async def _config(self, request):
        self.requests.append((request.path, {}, None))
        await self.gate.wait()
        return await super()._config(request)


async def test_a_chat_goes_elsewhere_when_the_replica_leaves_after_telling_its_template(rig, http):
    async with SlowToTell() as a, FakeTriton() as b:
        a.gate.clear()
        rig.know([service("gpt")], endpoints("gpt", a.port))
        chat = {"model": "gpt", "messages": [{"role": "user", "content": "hi"}]}
        asked = asyncio.create_task(post(http, rig, "/v1/chat/completions", chat))
        await until(lambda: a.requests)
        rig.know(slices=leaves(a) + endpoints("gpt", b.port))
        a.gate.set()
        assert (await asked)[0] == 200
        assert (len(a.requests), len(b.requests)) == (1, 1)


async def test_what_a_stopping_server_refuses_is_asked_elsewhere(rig, http):
    """Triton has no models any more while it stops, and says that it knows none of that name."""
    async with FakeTriton() as a, FakeTriton() as b:
        a.gate.clear()
        a.status = 400
        rig.know([service("mini", "Embed")], endpoints("mini", a.port))
        asked = asyncio.create_task(
            post(http, rig, "/v1/embeddings", {"model": "mini", "input": "x"})
        )
        await until(lambda: a.requests)
        rig.know(slices=leaves(a, "mini") + endpoints("mini", b.port))
        a.gate.set()
        assert (await asked)[0] == 200
        assert (len(a.requests), len(b.requests)) == (1, 1)


async def test_nothing_is_ever_sent_to_a_replica_that_is_known_to_leave(rig, http, monkeypatch):
    chance, late, real = random.Random(11), [], Exchange.send

    async def seen(exchange, *parts):
        if exchange._pool._retired:
            late.append(parts[0])
        return await real(exchange, *parts)

    monkeypatch.setattr(Exchange, "send", seen)
    async with FakeTriton(pause=0.005) as a, FakeTriton(pause=0.005) as b, FakeTriton() as c:
        one_by_one = {"runtime": {"batching": {"maxBatchSize": 1}}}
        rig.know([service("gpt"), service("mini", "Embed", **one_by_one)], [])
        tasks = []
        for _ in range(120):
            tasks.append(ask(http, rig, stream=chance.random() < 0.5))
            texts = {"model": "mini", "input": ["a"] * 4}
            tasks.append(asyncio.create_task(post(http, rig, "/v1/embeddings", texts)))
            await asyncio.sleep(0.003)
            stays = {f: chance.random() < 0.6 for f in (a, b, c)}
            rig.know(
                slices=[
                    found
                    for name in ("gpt", "mini")
                    for f, here in stays.items()
                    for found in (endpoints(name, f.port) if here else leaves(f, name))
                ]
            )
        rig.know(slices=[s for n in ("gpt", "mini") for s in endpoints(n, a.port, b.port, c.port)])
        answers = await asyncio.gather(*tasks)
        assert {status for status, _ in answers} == {200}
        assert not late
        assert rig.line("gpt").running == rig.line("mini").running == 0


class Talking(stubs.GRPCInferenceServiceServicer):
    asked = 0

    async def ModelInfer(self, request, context):  # noqa: N802
        self.asked += 1
        return pb.ModelInferResponse(model_name=request.model_name)

    async def ModelStreamInfer(self, requests, context):  # noqa: N802
        async for request in requests:
            response = pb.ModelInferResponse(model_name=request.model_name)
            yield pb.ModelStreamInferResponse(infer_response=response)


@pytest.fixture
async def over_grpc(rig):
    server, rig.talking = grpc.aio.server(), Talking()
    stubs.add_GRPCInferenceServiceServicer_to_server(rig.talking, server)
    slices = endpoints("net", 1)
    port = server.add_insecure_port("127.0.0.1:0")
    slices[0]["ports"].append({"name": "grpc", "port": port})
    await server.start()
    rig.know([service("net", hold={"maxSeconds": 1})], slices)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{rig.gateway.grpc.number}") as channel:
        yield server, stubs.GRPCInferenceServiceStub(channel)
    await server.stop(0)


async def test_a_grpc_call_does_not_use_a_place_on_a_replica_that_left(rig, over_grpc):
    _, stub = over_grpc
    there = rig.slices
    rig.know(slices=[])
    about = [("authorization", f"Bearer {rig.key}")]
    call = stub.ModelInfer(pb.ModelInferRequest(model_name="net"), metadata=about)
    await until(lambda: len(rig.line("net").hold) == 1)
    rig.know(slices=there)  # hands it the place
    rig.know(slices=[])
    with pytest.raises(grpc.aio.AioRpcError, match="No replica"):
        await call
    assert rig.talking.asked == 0


async def test_an_idle_grpc_channel_does_not_hold_a_leaving_replica(rig, over_grpc):
    _, stub = over_grpc
    about = [("authorization", f"Bearer {rig.key}")]
    await stub.ModelInfer(pb.ModelInferRequest(model_name="net"), metadata=about)
    channels = rig.gateway.grpc._upstream._channels
    assert len(channels) == 1
    rig.know(slices=[])
    await until(lambda: not channels)


async def test_a_grpc_stream_that_is_cut_is_unavailable_and_says_so(rig, over_grpc):
    server, stub = over_grpc
    about = [("authorization", f"Bearer {rig.key}")]
    stream = stub.ModelStreamInfer(metadata=about)
    await stream.write(pb.ModelInferRequest(model_name="net"))
    assert (await stream.read()).infer_response.model_name == "net"
    rig.know(slices=[])
    await server.stop(0)
    with pytest.raises(grpc.aio.AioRpcError) as cut:
        await stream.read()
    assert cut.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "'net' was stopped" in cut.value.details()
