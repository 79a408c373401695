"""A connection to a replica serves any number of requests, and holds back what nobody reads.

Holds: gateway/wire/connections.py
"""

import asyncio

import pytest

from preamar.gateway.wire.connections import HIGH_WATER, CutShort, Exchange, Pool

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Transport:
    def __init__(self):
        self.paused = False

    def is_closing(self):
        return False

    def writelines(self, parts):
        assert parts

    def pause_reading(self):
        self.paused = True

    def resume_reading(self):
        self.paused = False

    def close(self):
        raise AssertionError("closed")


@pytest.fixture
async def exchange():
    pool = Pool("127.0.0.1", 1, 1.0)
    exchange = Exchange(pool)
    exchange.connection_made(Transport())
    pool.give_back(exchange)
    return exchange


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


async def test_a_connection_serves_thousands_of_requests(exchange):
    for _ in range(6000):
        assert await exchange._pool.take() is exchange
        sending = asyncio.ensure_future(exchange.send(b"POST"))
        await asyncio.sleep(0)
        exchange.data_received(HEAD + chunk(b"data: x\n\n") + b"0\r\n\r\n")
        await sending
        assert await exchange.read_all(1000) == b"data: x\n\n"
        assert not exchange._transport.paused


async def test_what_nobody_reads_is_held_back_and_let_go_again(exchange):
    sending = asyncio.ensure_future(exchange.send(b"POST"))
    await asyncio.sleep(0)
    exchange.data_received(HEAD)
    await sending
    sent = 0
    while not exchange._transport.paused:
        exchange.data_received(chunk(b"x" * 1000))
        sent += 1
    assert HIGH_WATER // 1000 <= sent <= HIGH_WATER // 1000 + 1
    for _ in range(sent):
        await exchange.read()
    assert not exchange._transport.paused


async def passing(answers, sink):
    """What ``pass_to`` returns or raises, of a server that sends these pieces one after another."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in answers:
            await asyncio.sleep(0.01)
            if piece is None:
                writer.transport.abort()
                return
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b"0\r\n\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    pool = Pool("127.0.0.1", server.sockets[0].getsockname()[1], 60.0)
    exchange = await pool.take()
    try:
        await exchange.send(b"GET / HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(60):
            while not await exchange.pass_to(sink):  # noqa: ASYNC110 - who stops it goes on later
                await asyncio.sleep(0.02)
        return pool
    finally:
        exchange.close()
        server.close()


async def test_pieces_are_passed_on_in_order_also_to_who_stops_and_goes_on():
    pieces, heard, stops = [b"%d" % n for n in range(9)], [], iter([True, False] * 9)

    def sink(data):
        heard.append(data)
        return next(stops)

    pool = await passing([*pieces, b""], sink)
    assert b"".join(heard) == b"".join(pieces)
    assert len(pool._idle) == 1  # its connection serves others


async def test_an_answer_that_breaks_off_is_not_taken_for_whole_when_it_is_passed_on():
    heard = []
    with pytest.raises(CutShort):
        await passing([b"one", b"two", None], lambda data: heard.append(data) or True)
    assert heard == [b"one", b"two"]


async def test_what_the_one_who_hears_raises_is_raised_where_the_end_is_waited_for():
    def sink(data):
        if data == b"two":
            raise ValueError("no")
        return True

    with pytest.raises(ValueError, match="no"):
        await passing([b"one", b"two", b"three", b""], sink)
