"""A connection to a replica serves any number of requests, and holds back what nobody reads."""

import asyncio

import pytest

from preamar.gateway.wire import HIGH_WATER, Exchange, Pool

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
