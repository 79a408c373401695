"""Replicas that fail, requests that belong together and callers in a hurry, over real sockets.

Holds: gateway/routing/affinity.py, gateway/routing/balancer.py, gateway/routing/queue.py,
gateway/relay/upstream.py, gateway/deadline.py
"""

import asyncio
import json
import time

import aiohttp
import grpc
import pytest
import tritonclient.grpc as triton

from preamar.gateway.relay.upstream import Timeouts
from preamar.gateway.routing import balancer as picks
from tests.gateway.conftest import endpoints, running_gateway, service, until
from tests.gateway.fake_triton import FakeTriton
from tests.gateway.test_serving import ask


async def vector(http, rig, text="hi", **headers):
    async with http.post(
        rig.url + "/v1/embeddings",
        json={"model": "minilm", "input": text},
        headers=rig.auth | headers,
    ) as answer:
        return answer.status, await answer.json()


async def test_a_request_that_a_replica_failed_on_is_asked_of_another_once(rig, http):
    async with FakeTriton() as bad, FakeTriton() as good:
        bad.status = 500
        rig.know([service("minilm", "Embed")], endpoints("minilm", bad.port, good.port))
        answers = [await vector(http, rig) for _ in range(8)]
        assert {status for status, _ in answers} == {200}
        assert good.finished == 8
        assert len(bad.requests) == 3  # then it is left out
        assert len(rig.rows()) == 8


async def test_a_replica_that_fails_is_left_out_for_a_while_and_then_tried_by_one(
    rig, http, monkeypatch
):
    monkeypatch.setattr(picks, "EJECT_SECONDS", 60.0)
    async with FakeTriton() as bad, FakeTriton() as good:
        bad.status = 500
        rig.know([service("minilm", "Embed")], endpoints("minilm", bad.port, good.port))
        for _ in range(6):
            await vector(http, rig)
        assert len(bad.requests) == 3
        good.gate.clear()
        bad.gate.clear()
        left_out = [r for r in rig.line("minilm").replicas.values() if r.ejected_until]
        assert [replica.address.http for replica in left_out] == [bad.port]
        assert 0 < left_out[0].ejected_until - time.monotonic() <= 60
        left_out[0].ejected_until = time.monotonic()  # the while is over
        waiting = [asyncio.create_task(vector(http, rig)) for _ in range(6)]
        await until(lambda: len(good.requests) >= 11)
        assert len(bad.requests) == 4
        bad.status = 200
        bad.gate.set()
        good.gate.set()
        assert {status for status, _ in await asyncio.gather(*waiting)} == {200}
        await asyncio.gather(*(vector(http, rig) for _ in range(8)))
        assert len(bad.requests) > 5  # it is one of them again


async def test_the_only_replica_is_never_left_out_for_what_it_was_asked(rig, http):
    async with FakeTriton() as only:
        only.status = 500
        rig.know([service("minilm", "Embed")], endpoints("minilm", only.port))
        assert {status for status, _ in [await vector(http, rig) for _ in range(6)]} == {500}
        (replica,) = rig.line("minilm").replicas.values()
        assert replica.ejected_until == 0.0
        only.status = 200
        assert (await vector(http, rig))[0] == 200
        assert len(only.requests) == 7


async def test_texts_that_begin_alike_are_made_by_the_same_replica(rig, http):
    async with FakeTriton() as a, FakeTriton() as b, FakeTriton() as c:
        rig.know([service("gpt")], endpoints("gpt", a.port, b.port, c.port))
        begin = "A long story. " * 50
        for n in range(9):
            assert (await ask(http, rig, prompt=f"{begin}{n}"))[0] == 200
        assert sorted(len(fake.requests) for fake in (a, b, c)) == [0, 0, 9]
        for n in range(30):
            await ask(http, rig, prompt=f"{n}. {begin}")
        assert min(len(fake.requests) for fake in (a, b, c)) > 2


async def test_a_caller_whose_time_is_over_leaves_the_hold_and_is_told(rig, http):
    rig.know([service("gpt")], [])
    began = time.monotonic()
    async with http.post(
        rig.url + "/v1/completions",
        json={"model": "gpt", "prompt": "hi"},
        headers=rig.auth | {"x-request-timeout": "0.3"},
    ) as answer:
        told = await answer.json()
    assert time.monotonic() - began > 0.25  # which a busy machine makes later, and never sooner
    assert (answer.status, told["error"]["code"]) == (504, "deadline_exceeded")
    assert not rig.line("gpt").hold
    await until(rig.rows)
    assert [row.status for row in rig.rows()] == [504]


async def test_the_work_of_a_caller_whose_time_is_over_is_cancelled_at_the_model(rig, http):
    async with FakeTriton(words=["word "] * 1000, pause=0.01) as fake:
        rig.know([service("gpt"), service("minilm", "Embed")], [])
        rig.know(slices=[*endpoints("gpt", fake.port), *endpoints("minilm", fake.port)])
        assert (await vector(http, rig, **{"x-request-timeout": "60"}))[0] == 200
        assert 30 < float(fake.requests[0][1]["x-request-timeout"]) <= 60
        async with http.post(
            rig.url + "/v1/completions",
            json={"model": "gpt", "prompt": "hi", "stream": True},
            headers=rig.auth | {"x-request-timeout": "0.5"},
        ) as answer:
            events = (await answer.text()).strip().split("\n\n")
        assert json.loads(events[-1].removeprefix("data: "))["error"]["code"] == "deadline_exceeded"
        assert len(events) > 3
        await until(lambda: fake.cancelled == 1)
        await until(lambda: len(rig.rows()) == 2)
        (row,) = [row for row in rig.rows() if row.model == "gpt"]
        assert row.status == 504
        assert 3 < row.output_tokens < 1000
        assert 0 < float(fake.requests[1][1]["x-request-timeout"]) <= 0.5


async def test_a_time_to_wait_that_is_none_is_a_clear_error(rig, http):
    rig.know([service("minilm", "Embed")], [])
    status, told = await vector(http, rig, **{"x-request-timeout": "soon"})
    assert (status, told["error"]["param"]) == (400, "x-request-timeout")


async def test_what_a_deadline_cuts_off_is_never_taken_for_whole(rig, http):
    """An answer of KServe v2 whose pieces have begun to pass, and of which the rest comes too late."""

    async def half(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n")
        for _ in range(2):
            await asyncio.sleep(0.02)
            writer.write(b"0123456789")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(half, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    rig.know([service("net", "Infer")], endpoints("net", port))
    with pytest.raises(aiohttp.ClientPayloadError):
        async with http.post(
            rig.url + "/v2/models/net/infer",
            data=b"{}",
            headers=rig.auth | {"x-request-timeout": "0.7"},
        ) as answer:
            await answer.read()
    await until(rig.rows)
    assert [row.status for row in rig.rows()] == [504]
    server.close()


async def test_a_deadline_of_grpc_ends_the_wait_in_the_hold(rig):
    rig.know([service("net", "Infer")], [])
    client = triton.InferenceServerClient(f"127.0.0.1:{rig.gateway.grpc.number}")

    def call():
        # Connecting is not to be a part of its patience.
        client.is_server_live(headers={"authorization": f"Bearer {rig.key}"})
        client.infer("net", [], headers={"authorization": f"Bearer {rig.key}"}, client_timeout=0.4)

    with pytest.raises(triton.InferenceServerException, match="Deadline Exceeded") as error:
        await asyncio.to_thread(call)
    assert error.value.status() == str(grpc.StatusCode.DEADLINE_EXCEEDED)
    await until(lambda: not rig.line("net").hold)
    await until(rig.rows)
    assert [row.status for row in rig.rows()] == [504]


async def test_a_model_that_does_not_begin_to_answer_is_given_up(tmp_path, http):
    async with (
        FakeTriton() as fake,
        running_gateway(tmp_path, answer_seconds=0.3) as rig,
    ):
        fake.gate.clear()
        rig.know([service("gpt")], endpoints("gpt", fake.port))
        status, _, text = await ask(http, rig)
        assert (status, json.loads(text)["error"]["code"]) == (504, "upstream_timeout")
        await until(lambda: fake.cancelled == 1)
        assert [row.status for row in rig.rows()] == [504]
        rig.gateway.http._upstream.timeouts = Timeouts(60, 60)
        fake.gate.set()
        assert (await ask(http, rig))[0] == 200
