"""What happens to requests when a replica leaves: nothing new is sent there, what has not begun goes
elsewhere, and what is cut is told so.

Holds: gateway/routing/queue.py, gateway/routing/replica.py, gateway/relay/grpc_upstream.py,
gateway/relay/upstream.py, gateway/endpoints/response_stream.py
"""

import asyncio
import json
import random

import grpc
import grpc.aio
import pytest
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc as stubs

from preamar.gateway.routing import affinity
from preamar.gateway.routing.balancer import pick
from preamar.gateway.wire.connections import Exchange, Pool
from tests.gateway.conftest import endpoints, service, until
from tests.gateway.fake_triton import FakeTriton

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
            await until(pool.retired.is_set)
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
        if exchange._pool.retired.is_set():
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


class Killed(FakeTriton):
    """Begins an answer, and is gone before the first event of it."""

    async def _stream(self, request):
        response = await super()._stream(request)
        for site in list(self._runner.sites):
            await site.stop()
        return response


def for_replica(rig, fake):
    """A prompt that begins like what belongs on that replica."""
    replicas = rig.line("gpt").replicas.values()
    return next(
        text
        for text in (f"{n}. {'Long ago. ' * 9}" for n in range(1000))
        if pick(replicas, 9, 0, affinity.of_text(text)).address.http == fake.port
    )


async def test_a_stream_that_is_lost_before_its_first_token_begins_on_another(rig, http):
    async with Killed() as a, FakeTriton() as b:
        a.die_after = 0
        rig.know([service("gpt")], endpoints("gpt", a.port, b.port))
        status, text = await ask(http, rig, stream=True, prompt=for_replica(rig, a))
        assert status == 200
        assert text.endswith("data: [DONE]\n\n")
        assert '"error"' not in text
        assert (len(a.requests), b.finished) == (1, 1)


async def test_streams_that_are_lost_again_and_again_are_not_asked_for_without_end(rig, http):
    async with FakeTriton() as a:
        a.die_after = 0
        rig.know([service("gpt")], endpoints("gpt", a.port))
        asked = [await ask(http, rig) for _ in range(20)]
        assert {status for status, _ in asked} == {502}
        assert len(a.requests) <= 20 + 12, "ten to begin with, and a tenth of all requests"


async def test_a_stream_that_its_replica_cannot_end_in_time_ends_with_an_error_that_says_so(
    rig, http
):
    async with FakeTriton(words=["w "] * 100, pause=0.02) as a:
        rig.know([service("gpt")], endpoints("gpt", a.port))
        asked = ask(http, rig, stream=True)
        await until(lambda: a.requests)
        rig.know(slices=leaves(a))
        await asyncio.sleep(0.1)
        a.words = a.words[:10]
        a.die_after = 9
        status, text = await asked
        *_, last = (json.loads(e[6:]) for e in text.split("\n\n") if e.startswith("data: "))
        assert status == 200
        assert "[DONE]" not in text
        assert set(last["error"]) == {"message", "type", "param", "code"}
        assert "was stopped" in last["error"]["message"]


class Talking(stubs.GRPCInferenceServiceServicer):
    """Says who it is. Of a request with an id it tells the first half at once, and the rest when
    ``gate`` opens."""

    def __init__(self, name):
        self.name = name
        self.asked = self.streams = 0
        self.gate = asyncio.Event()
        self.server = grpc.aio.server()
        stubs.add_GRPCInferenceServiceServicer_to_server(self, self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")

    @property
    def endpoints(self):
        (found,) = endpoints("net", self.port)
        found["ports"].append({"name": "grpc", "port": self.port})
        return [found]

    async def ModelInfer(self, request, context):  # noqa: N802
        self.asked += 1
        return pb.ModelInferResponse(model_name=request.model_name)

    async def ModelStreamInfer(self, requests, context):  # noqa: N802
        self.streams += 1
        async for request in requests:
            self.asked += 1
            response = pb.ModelInferResponse(
                model_name=request.model_name, model_version=self.name, id=request.id
            )
            yield pb.ModelStreamInferResponse(infer_response=response)
            if request.parameters["long"].bool_param:
                await self.gate.wait()
                yield pb.ModelStreamInferResponse(infer_response=response)
        self.streams -= 1


@pytest.fixture
async def grpc_servers():
    servers = [Talking("a"), Talking("b")]
    for one in servers:
        await one.server.start()
    yield servers
    for one in servers:
        one.gate.set()
        await one.server.stop(0)


@pytest.fixture
async def stub(rig, grpc_servers):
    a, _ = grpc_servers
    rig.know([service("net", hold={"maxSeconds": 60})], a.endpoints)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{rig.gateway.grpc.number}") as channel:
        yield stubs.GRPCInferenceServiceStub(channel)


def about(rig):
    return [("authorization", f"Bearer {rig.key}")]


def message(*, long=False):
    return pb.ModelInferRequest(
        model_name="net", parameters={"long": pb.InferParameter(bool_param=long)}
    )


async def said(stream):
    async with asyncio.timeout(60):
        return (await stream.read()).infer_response.model_version


async def test_a_grpc_call_does_not_use_a_place_on_a_replica_that_left(rig, stub, grpc_servers):
    a, _ = grpc_servers
    rig.know(slices=[])
    call = stub.ModelInfer(message(), metadata=about(rig))
    await until(lambda: len(rig.line("net").hold) == 1)
    rig.know(slices=a.endpoints)  # hands it the place
    rig.know(slices=[])
    await until(lambda: len(rig.line("net").hold) == 1)
    rig.know(services=[])  # and it waits no longer
    with pytest.raises(grpc.aio.AioRpcError, match="net"):
        await call
    assert a.asked == 0


async def test_an_idle_grpc_channel_does_not_hold_a_leaving_replica(rig, stub):
    await stub.ModelInfer(message(), metadata=about(rig))
    channels = rig.gateway.grpc._upstream._channels
    assert len(channels) == 1
    rig.know(slices=[])
    await until(lambda: not channels)


async def test_a_grpc_stream_that_is_cut_is_unavailable_and_says_so(rig, stub, grpc_servers):
    a, _ = grpc_servers
    stream = stub.ModelStreamInfer(metadata=about(rig))
    await stream.write(message(long=True))
    assert await said(stream) == "a"
    rig.know(slices=[])
    await a.server.stop(0)
    with pytest.raises(grpc.aio.AioRpcError) as cut:
        await said(stream)
    assert cut.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "'net' was stopped" in cut.value.details()


async def test_a_grpc_stream_outlives_its_replica(rig, stub, grpc_servers):
    """What the leaving one has heard it answers, what is said from then on another one hears, and
    a stream with nothing to say does not hold it."""
    a, b = grpc_servers
    stream = stub.ModelStreamInfer(metadata=about(rig))
    await stream.write(message(long=True))
    assert await said(stream) == "a"
    rig.know(slices=b.endpoints)
    await stream.write(message())
    a.gate.set()
    assert [await said(stream), await said(stream)] == ["a", "b"]
    await until(lambda: (a.streams, a.asked, b.asked) == (0, 1, 1))
    rig.know(slices=a.endpoints)
    await until(lambda: b.streams == 0)
    await stream.write(message())
    assert await said(stream) == "a"
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF
    await until(lambda: [row.status for row in rig.rows()] == [200])
    assert rig.line("net").running == 0


async def test_a_grpc_stream_whose_replica_cannot_be_reached_begins_on_another(
    rig, stub, grpc_servers
):
    a, b = grpc_servers
    rig.know(slices=a.endpoints + b.endpoints)
    await a.server.stop(0)
    for _ in range(3):
        stream = stub.ModelStreamInfer(metadata=about(rig))
        await stream.write(message())
        assert await said(stream) == "b"
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF
    assert b.asked == 3
    assert rig.line("net").running == 0
