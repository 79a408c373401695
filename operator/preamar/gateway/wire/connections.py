"""How bytes reach a replica: a pool of HTTP/1.1 connections, one exchange at a time on each.

It knows what aiohttp's client does not tell: whether a request can have reached the replica
(``NotSent``: certainly not), and how to close only the idle connections of a replica that leaves.
Closing a connection is what cancels the work behind it.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import cast

from preamar.gateway.wire.http1 import Garbled, Head, ResponseParser

HIGH_WATER = 262144
LOW_WATER = 65536
IDLE_AT_MOST = 256


class NotSent(Exception):
    """No byte of the request reached the replica: it may go to another one."""


class Left(NotSent):
    """Nothing is wrong with it: the replica left before there was a connection."""


class ConnectionLost(Exception):
    """The connection ended before the answer began; the request may have been carried out."""


class CutShort(Exception):
    """The answer began and did not end."""


Sink = Callable[[bytes], bool]
"""Takes a piece of a body; False where it wants no more for now."""


class Exchange(asyncio.Protocol):
    """One connection. ``send``, then ``read`` until it returns b""; ``abort`` at any time."""

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._parser = ResponseParser()
        self._waiter: asyncio.Future[None] | None = None
        self._failure: str | None = None
        self._busy = False
        self._paused = False
        self._buffered = 0
        self._sink: Sink | None = None
        self._raised: Exception | None = None
        self.used = False

    async def send(self, *parts: bytes) -> Head:
        """Write a request and wait for the head of its answer. Raises ``ConnectionLost``."""
        transport = self._transport
        if transport is None or transport.is_closing():
            raise NotSent
        self._parser = ResponseParser()
        self._buffered = 0
        self._busy = True
        transport.writelines(parts)
        while self._parser.head is None:
            if self._failure is not None:
                raise ConnectionLost(self._failure)
            await self._wait()
        return self._parser.head

    async def read(self) -> bytes:
        """The next piece of the body, b"" at its end. Raises ``CutShort``."""
        parser = self._parser
        while not parser.pieces:
            if parser.done:
                self._finish()
                return b""
            if self._failure is not None:
                raise CutShort(self._failure)
            await self._wait()
        return self._taken()

    def _taken(self) -> bytes:
        piece = self._parser.pieces.popleft()
        self._buffered -= len(piece)
        if self._paused and self._buffered < LOW_WATER and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return piece

    async def pass_to(self, sink: "Sink") -> bool:
        """Give each piece of the body to ``sink`` the moment it comes, which spares a stream the
        waking of a task for each: True at its end, False once the sink has returned False. Raises
        ``CutShort``, or what the sink raises."""
        self._sink = sink
        self._pass_on()
        try:
            while self._sink is not None:
                if self._parser.done and not self._parser.pieces:
                    self._finish()
                    return True
                if self._failure is not None and not self._parser.pieces:
                    raise CutShort(self._failure)
                await self._wait()
        finally:
            self._sink = None
        if self._raised is not None:
            error, self._raised = self._raised, None
            raise error
        return False

    def _pass_on(self) -> None:
        while self._sink is not None and self._parser.pieces:
            try:
                goes_on = self._sink(self._taken())
            except Exception as error:  # noqa: BLE001 - raised where somebody waits for the end
                self._raised, goes_on = error, False
            if not goes_on:
                self._sink = None

    async def read_all(self, limit: int) -> bytes:
        """The whole body; ``CutShort`` if it is longer than ``limit`` bytes."""
        parts = []
        size = 0
        while piece := await self.read():
            size += len(piece)
            if size > limit:
                self.abort()
                raise CutShort("the answer is too long")
            parts.append(piece)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def abort(self) -> None:
        """Close now, whatever is under way; the replica sees its caller leave."""
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def _finish(self) -> None:
        if not self._busy:
            return
        self._busy = False
        self.used = True
        head = self._parser.head
        if head is not None and head.keep and self._failure is None:
            self._pool.give_back(self)
        else:
            self.close()

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if not self._busy:
            # Nothing was asked: whatever this is must not become the next caller's answer.
            self._failure = "unexpected bytes"
            self.abort()
            return
        try:
            before = len(self._parser.pieces)
            self._parser.feed(data)
        except Garbled as error:
            self._failure = str(error)
            self.abort()
        else:
            if len(self._parser.pieces) > before:
                # Pieces and not bytes: what frames them is never taken out again.
                self._buffered += sum(map(len, islice(self._parser.pieces, before, None)))
                if self._buffered > HIGH_WATER and not self._paused and self._transport:
                    self._paused = True
                    self._transport.pause_reading()
        if self._sink is not None:
            self._pass_on()
            if self._sink is not None and not self._parser.done:
                return  # nothing that whoever waits has to know
        self._wake()

    def eof_received(self) -> None:
        self._ended("the replica closed the connection")

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._ended(str(exc) if exc else "the connection closed")
        self._pool.forget(self)

    def _ended(self, why: str) -> None:
        if self._failure is None:
            try:
                if self._busy:
                    self._parser.eof()
                else:
                    self._failure = why
            except Garbled:
                self._failure = why
        self._wake()


class Pool:
    """Connections to one address. ``retire`` closes the idle ones and keeps none from then on."""

    def __init__(self, ip: str, port: int, connect_seconds: float) -> None:
        self._ip = ip
        self._port = port
        self._connect_seconds = connect_seconds
        self._idle: deque[Exchange] = deque()
        self.retired = asyncio.Event()
        bracketed = f"[{ip}]" if ":" in ip else ip
        self.host = f"{bracketed}:{port}".encode()

    async def take(self) -> Exchange:
        """An idle connection or a new one. Raises ``NotSent`` or ``Left``."""
        while self._idle:
            exchange = self._idle.pop()
            if exchange.usable:
                return exchange
        if self.retired.is_set():
            raise Left
        exchange = await self.connect()
        if self.retired.is_set():
            exchange.close()
            raise Left
        return exchange

    async def connect(self) -> Exchange:
        """A new connection. Raises ``NotSent``."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_seconds):
                _, exchange = await loop.create_connection(
                    lambda: Exchange(self), self._ip, self._port
                )
        except (OSError, TimeoutError) as error:
            raise NotSent(str(error)) from error
        return exchange

    def give_back(self, exchange: Exchange) -> None:
        if self.retired.is_set() or len(self._idle) >= IDLE_AT_MOST:
            exchange.close()
        else:
            self._idle.append(exchange)

    def forget(self, exchange: Exchange) -> None:
        if exchange in self._idle:
            self._idle.remove(exchange)

    def retire(self) -> None:
        """The replica leaves: idle connections would only delay its end."""
        self.retired.set()
        while self._idle:
            self._idle.pop().close()
