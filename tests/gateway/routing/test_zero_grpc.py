"""What callers of a sleeping model are promised by gRPC: the same, in metadata and status codes.

Holds: gateway/routing/queue.py, gateway/endpoints/grpc.py
"""

import asyncio
import contextlib

import grpc
import grpc.aio
import pytest
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc as stubs

from tests.gateway.conftest import endpoints, running_gateway, service, until

REQUEST = pb.ModelInferRequest(model_name="net")
HOLD = {"maxRequests": 2}


class Fake(stubs.GRPCInferenceServiceServicer):
    async def ModelInfer(self, request, context):  # noqa: N802
        return pb.ModelInferResponse(model_name=request.model_name)

    async def ModelStreamInfer(self, requests, context):  # noqa: N802
        async for request in requests:
            reply = pb.ModelInferResponse(model_name=request.model_name)
            yield pb.ModelStreamInferResponse(infer_response=reply)


@pytest.fixture
async def rig(tmp_path):
    async with running_gateway(tmp_path, keep_alive_seconds=0.1) as rig:
        known = {"status": {"learned": {"coldStartSeconds": "40.0"}}}
        rig.know([service("net", hold=HOLD) | known], [])
        yield rig


@pytest.fixture
async def replica():
    """Its EndpointSlices."""
    server = grpc.aio.server()
    stubs.add_GRPCInferenceServiceServicer_to_server(Fake(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    slices = endpoints("net", 1)
    slices[0]["ports"].append({"name": "grpc", "port": port})
    yield slices
    await server.stop(0)


@contextlib.asynccontextmanager
async def stub(number):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{number}") as channel:
        yield stubs.GRPCInferenceServiceStub(channel)


def metadata(headers):
    return tuple((name.lower(), value) for name, value in headers.items())


async def held(rig, count):
    await until(lambda: len(rig.line("net").hold) == count)


async def test_an_answer_and_a_stream_say_how_long_the_wake_took(rig, replica):
    async with stub(rig.gateway.grpc.number) as net:
        one = net.ModelInfer(REQUEST, metadata=metadata(rig.auth))
        stream = net.ModelStreamInfer(metadata=metadata(rig.auth))
        await stream.write(REQUEST)
        await held(rig, 2)
        rig.know(slices=replica)
        await one
        await stream.read()
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF
        said = dict(await one.initial_metadata()), dict(await stream.trailing_metadata())
        assert all(int(found["x-preamar-cold-start-ms"]) >= 0 for found in said)
        awake = net.ModelInfer(REQUEST, metadata=metadata(rig.auth))
        await awake
        assert "x-preamar-cold-start-ms" not in dict(await awake.initial_metadata())


async def test_who_finds_the_hold_full_or_is_turned_away_is_told_when_to_come_back(rig):
    async with stub(rig.gateway.grpc.number) as net:
        many = []
        for count in (1, 2):
            many.append(net.ModelInfer(REQUEST, metadata=metadata(rig.auth)))
            await held(rig, count)
        with pytest.raises(grpc.aio.AioRpcError) as full:
            await net.ModelInfer(REQUEST, metadata=metadata(rig.auth))
        other = net.ModelInfer(REQUEST, metadata=metadata(rig.other("light")))
        with pytest.raises(grpc.aio.AioRpcError) as turned_away:
            await many[1]
        for refused in (full.value, turned_away.value):
            assert refused.code() is grpc.StatusCode.UNAVAILABLE
            assert int(dict(refused.trailing_metadata())["retry-after"]) in {38, 39, 40}
        many[0].cancel()
        await held(rig, 1)
        other.cancel()
        await held(rig, 0)
        await until(lambda: sorted(row.status for row in rig.rows()) == [499, 499, 503, 503])


async def test_the_connection_of_who_waits_is_kept_alive(rig):
    """Between caller and gateway stands a relay that counts what the gateway says."""
    heard = []

    async def relay(reader, writer):
        there = await asyncio.open_connection("127.0.0.1", rig.gateway.grpc.number)

        async def pass_on(source, sink, note):
            while data := await source.read(65536):
                note(data)
                sink.write(data)
            sink.close()

        await asyncio.gather(
            pass_on(reader, there[1], lambda _data: None),
            pass_on(there[0], writer, heard.append),
        )

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    async with server, stub(server.sockets[0].getsockname()[1]) as net:
        call = net.ModelInfer(REQUEST, metadata=metadata(rig.auth))
        await held(rig, 1)
        before = len(heard)
        await until(lambda: len(heard) >= before + 4)
        assert not call.done()
        call.cancel()
        await held(rig, 0)
