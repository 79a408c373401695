"""A listening port with bounds: connections at once, sizes of headers, time to ask something."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

FIRST_REQUEST_SECONDS = 15.0
KEEP_ALIVE_SECONDS = 120.0
QUIET = logging.getLogger("preamar.gateway.http")
"""aiohttp's own: it would write each malformed header that anybody sends, keys included."""
QUIET.setLevel(logging.CRITICAL)
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Bounded(web.Server):
    """Refuses connections over ``most``, and drops those that do not ask anything."""

    def __init__(self, handler: Handler, most: int) -> None:
        super().__init__(
            self._asked,
            handler_cancellation=True,
            access_log=None,
            logger=QUIET,
            auto_decompress=False,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            max_line_size=8190,
            max_field_size=8190,
            max_headers=64,
        )
        self._inner = handler
        self._most = most
        self._fresh: dict[asyncio.BaseTransport, asyncio.TimerHandle] = {}

    async def _asked(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._fresh and request.transport is not None:
            timer = self._fresh.pop(request.transport, None)
            if timer is not None:
                timer.cancel()
        return await self._inner(request)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self._connections) > self._most:
            transport.abort()
            return
        loop = asyncio.get_running_loop()
        self._fresh[transport] = loop.call_later(FIRST_REQUEST_SECONDS, self._drop, transport)

    def _drop(self, transport: asyncio.Transport) -> None:
        if self._fresh.pop(transport, None) is not None:
            transport.abort()


class Port:
    """One address: ``listen``, later ``refuse`` new connections, at last ``close``."""

    def __init__(self, handler: Handler, most: int) -> None:
        self._bounded = Bounded(handler, most)
        self._listening: asyncio.Server | None = None
        self.number = 0

    async def listen(self, host: str, number: int) -> None:
        """Raises ``OSError`` where the port is taken."""
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(
            self._bounded, host, number, backlog=1024, reuse_address=True
        )
        self.number = self._listening.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """No new connections; idle ones are closed, busy ones after their answer."""
        if self._listening is not None:
            self._listening.close()
        self._bounded.pre_shutdown()

    async def close(self, seconds: float) -> None:
        """End what is left after that long."""
        self.refuse()
        await self._bounded.shutdown(seconds)
