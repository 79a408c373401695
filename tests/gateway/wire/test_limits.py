"""What one caller can take of the gateway: bytes, connections and time are bounded.

Holds: gateway/endpoints/request_body.py, gateway/wire/listener.py, gateway/wire/watchdog.py
"""

import asyncio

import aiohttp
import pytest

from preamar.gateway.wire import listener
from tests.gateway.conftest import endpoints, running_gateway, service, until
from tests.gateway.fake_triton import FakeTriton

POST = b"POST %b HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n%b\r\n"


class Raw:
    """A connection whose bytes a test writes and reads itself."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, rig):
        return cls(*await asyncio.open_connection("127.0.0.1", rig.gateway.data.number))

    def post(self, rig, path, *headers):
        lines = b"".join(header.encode() + b"\r\n" for header in headers)
        self.writer.write(POST % (path.encode(), rig.key.encode(), lines))

    async def head(self):
        return (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 60)).decode()

    async def rest(self):
        """All until the gateway closes the connection."""
        try:
            return await asyncio.wait_for(self.reader.read(), 60)
        except ConnectionError:
            return b""

    def close(self):
        self.writer.transport.abort()


async def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent(rig):
    rig.know([service("gpt"), service("net", "Infer")], [])
    for path, limit in (("/v1/completions", 8 << 20), ("/v2/models/net/infer", 64 << 20)):
        raw = await Raw.to(rig)
        raw.post(rig, path, f"Content-Length: {limit + 1}")
        head = await raw.head()
        assert head.startswith("HTTP/1.1 413")
        assert "x-request-id" in head
        raw.close()
    assert rig.rows() == []


async def test_a_body_that_does_not_say_its_size_is_refused_once_it_is_too_large(tmp_path):
    async with running_gateway(tmp_path, max_body=10_000) as rig:
        rig.know([service("gpt")], [])
        # The larger one is refused though its end has not come.
        for size, end, expected in ((9_000, b"0\r\n\r\n", "400"), (11_000, b"", "413")):
            raw = await Raw.to(rig)
            raw.post(rig, "/v1/completions", "Transfer-Encoding: chunked")
            raw.writer.write(b"%x\r\n%b\r\n%b" % (size, b"x" * size, end))
            assert (await raw.head()).split()[1] == expected
            raw.close()


async def test_bodies_of_all_requests_together_are_bounded_and_their_room_comes_back(tmp_path):
    async with running_gateway(tmp_path, body_memory=20_000) as rig:
        rig.know([service("gpt")], [])
        slow = [await Raw.to(rig) for _ in range(2)]
        for raw in slow:
            raw.post(rig, "/v1/completions", "Content-Length: 9001")
            raw.writer.write(b"x" * 9000)
        room = rig.gateway.data._bounded._inner.__self__._memory
        await until(lambda: room.left == 2000)
        late = await Raw.to(rig)
        late.post(rig, "/v1/completions", "Content-Length: 3000")
        late.writer.write(b"x" * 3000)
        head = await late.head()
        assert head.startswith("HTTP/1.1 503")
        assert "Retry-After: 2\r\n" in head
        slow[0].writer.write(b"x")
        assert (await slow[0].head()).startswith("HTTP/1.1 400")
        slow[1].close()
        await until(lambda: room.left == 20_000)
        slow[0].close()
        late.close()


async def test_a_connection_too_many_is_closed_at_once_and_the_others_are_served(tmp_path):
    async with running_gateway(tmp_path, max_connections=3) as rig:
        open_now = [await Raw.to(rig) for _ in range(3)]
        await until(lambda: len(rig.gateway.data._bounded.connections) == 3)
        fourth = await Raw.to(rig)
        assert await fourth.rest() == b""
        open_now[0].writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await open_now[0].head()).startswith("HTTP/1.1 200")
        open_now[1].close()
        await until(lambda: len(rig.gateway.data._bounded.connections) == 2)
        again = await Raw.to(rig)
        again.writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await again.head()).startswith("HTTP/1.1 200")
        for raw in (open_now[0], open_now[2], again):
            raw.close()


async def trickle(raw, data, every=0.02):
    """Send a byte at a time until the other end closes."""
    try:
        for at in range(len(data)):
            raw.writer.write(data[at : at + 1])
            await raw.writer.drain()
            await asyncio.sleep(every)
    except ConnectionError:
        return


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nX-A: " + b"a" * 1000])
async def test_a_head_that_does_not_come_to_its_end_costs_the_connection(
    tmp_path, monkeypatch, sent
):
    monkeypatch.setattr(listener, "FIRST_REQUEST_SECONDS", 0.15)
    async with running_gateway(tmp_path) as rig:
        raw = await Raw.to(rig)
        sending = asyncio.create_task(trickle(raw, sent))
        assert await raw.rest() == b""
        await until(lambda: not rig.gateway.data._bounded.connections)
        sending.cancel()


async def test_a_second_head_that_does_not_come_to_its_end_costs_the_connection(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(listener, "KEEP_ALIVE_SECONDS", 0.15)
    async with running_gateway(tmp_path) as rig:
        raw = await Raw.to(rig)
        raw.writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await raw.head()).startswith("HTTP/1.1 200")
        assert await raw.reader.readexactly(3) == b"ok\n"
        sending = asyncio.create_task(trickle(raw, b"GET /healthz HTTP/1.1\r\n" + b"X" * 500))
        assert await raw.rest() == b""
        sending.cancel()


@pytest.mark.parametrize("head", [
    b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"".join(b"X%d: a\r\n" % n for n in range(65)) + b"\r\n",
], ids=["long line", "long field", "many fields"])  # fmt: skip
async def test_a_head_that_is_too_large_is_refused(rig, head):
    raw = await Raw.to(rig)
    raw.writer.write(head)
    assert (await raw.head()).split()[1] == "400"
    raw.close()


async def test_a_body_that_does_not_come_to_its_end_is_refused_in_time(tmp_path):
    async with running_gateway(tmp_path, read_seconds=0.15) as rig:
        rig.know([service("gpt")], [])
        raw = await Raw.to(rig)
        raw.post(rig, "/v1/completions", "Content-Length: 500")
        sending = asyncio.create_task(trickle(raw, b"x" * 500))
        assert (await raw.head()).startswith("HTTP/1.1 408")
        assert not sending.done()
        sending.cancel()
        raw.close()


async def test_who_does_not_read_a_stream_stops_its_model_server_and_not_the_others(tmp_path):
    text = "w" * 10_000 + " "
    async with running_gateway(tmp_path) as rig, FakeTriton(words=[text] * 3000) as fake:
        rig.know([service("gpt")], endpoints("gpt", fake.port))
        raw = await Raw.to(rig)
        raw.writer.transport.pause_reading()
        body = b'{"model": "gpt", "prompt": "hi", "stream": true}'
        raw.post(rig, "/v1/completions", f"Content-Length: {len(body)}")
        raw.writer.write(body)
        await until(lambda: rig.line("gpt").running == 1)
        (replica,) = rig.line("gpt").replicas.values()
        await asyncio.sleep(0.2)
        held = rig.line("gpt").running
        assert (held, fake.finished) == (1, 0)
        async with aiohttp.ClientSession() as http, http.get(rig.url + "/healthz") as answer:
            assert answer.status == 200
        raw.close()
        await until(lambda: replica.in_flight == 0)
        await until(lambda: [row.status for row in rig.rows()] == [499])
