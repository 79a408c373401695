"""How a stream is written to its caller: headers late, so that early errors keep their status;
comments while there is nothing to say, so that nobody in between takes the connection for dead.

Until ``quiet`` seconds have passed nothing is sent. Then status 200 and ``: waiting`` go out, again
after each ``quiet`` seconds, and from then on a failure can only be an event in the stream.
"""

import asyncio
from types import TracebackType
from typing import Self

from aiohttp import web
from aiohttp.http import HttpVersion11

from preamar.gateway.errors import Problem
from preamar.gateway.wire.sse import ALIVE, DONE, WAITING, event

BEHIND_BYTES, BEHIND_SECONDS = 65536, 0.02


class Stream:
    """A server-sent stream that begins with its first byte. Comments are sent within ``async
    with``, after each ``quiet`` seconds without a byte."""

    def __init__(self, request: web.BaseRequest, headers: dict[str, str], quiet: float) -> None:
        self.headers = headers
        self.response: web.StreamResponse | None = None
        self._request = request
        self._quiet = quiet
        self._loop = asyncio.get_running_loop()
        self._wrote_at = self._loop.time()
        self._starting = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._comment: asyncio.Task[None] | None = None
        self._comment_text = WAITING

    @property
    def headed(self) -> bool:
        """Whether status and headers are out."""
        return self.response is not None or self._starting.locked()

    async def __aenter__(self) -> Self:
        self._timer = self._loop.call_later(self._quiet, self._tick)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._comment is not None:
            self._comment.cancel()

    def _tick(self) -> None:
        silent = self._loop.time() - self._wrote_at
        if silent >= self._quiet and (self._comment is None or self._comment.done()):
            self._comment = self._loop.create_task(self._say_alive())
            silent = 0.0
        self._timer = self._loop.call_later(max(self._quiet - silent, 0.01), self._tick)

    async def _say_alive(self) -> None:
        try:
            await self._send(self._comment_text)
        except (OSError, RuntimeError):
            # The caller has left; the request's own task learns it by being cancelled.
            return

    async def tell(self, name: str, value: str) -> None:
        """A header; a comment where headers are out."""
        if self.headed:
            await self._send(f": {name}: {value}\n\n".encode())
        else:
            self.headers[name] = value

    async def write(self, data: bytes) -> None:
        """Whole events."""
        self._comment_text = ALIVE
        await self._send(data)

    @property
    def direct(self) -> bool:
        """Whether ``write_now`` may be used: headers are out, and pieces are framed."""
        return self.response is not None and self._request.version >= HttpVersion11

    def write_now(self, data: bytes) -> bool:
        """Whole events, without waiting for anything. False where the caller reads more slowly than
        they come: then ``caught_up`` has to be waited for."""
        transport = self._request.transport
        if transport is None or transport.is_closing():
            return True  # it has left, and the request's task is about to be cancelled
        self._wrote_at = self._loop.time()
        self._comment_text = ALIVE
        transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        return transport.get_write_buffer_size() < BEHIND_BYTES

    async def caught_up(self) -> None:
        """Wait until the caller has read most of what was written."""
        transport = self._request.transport
        while transport is not None and transport.get_write_buffer_size() > BEHIND_BYTES // 4:  # noqa: ASYNC110 - a transport tells its protocol alone, which is aiohttp's
            await asyncio.sleep(BEHIND_SECONDS)

    async def _send(self, data: bytes) -> None:
        response = self.response if not self._starting.locked() else None
        self._wrote_at = self._loop.time()
        await (response or await self._begun()).write(data)

    async def _begun(self) -> web.StreamResponse:
        async with self._starting:
            if self.response is None:
                response = web.StreamResponse(
                    headers={
                        **self.headers,
                        "Content-Type": "text/event-stream; charset=utf-8",
                        "Cache-Control": "no-cache",
                        "X-Accel-Buffering": "no",
                    }
                )
                await response.prepare(self._request)
                self.response = response
            return self.response

    async def fail(self, problem: Problem) -> web.StreamResponse:
        """End with an error that no client takes for a complete answer."""
        self._stop()
        response = await self._begun()
        await response.write(event(problem.body()))
        await response.write_eof()
        return response

    async def end(self, last: bytes = DONE) -> web.StreamResponse:
        """End a complete answer."""
        self._stop()
        response = await self._begun()
        await response.write(last)
        await response.write_eof()
        return response
