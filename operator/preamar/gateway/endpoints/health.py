"""How the gateway itself is doing: live, ready, draining, and how many requests it carries."""

import asyncio
from collections.abc import Callable

from aiohttp import web

from preamar.gateway.metering.metrics import Meters


class GatewayHealth:
    """Shared by both ports."""

    def __init__(self, meters: Meters, healthy: Callable[[], bool]) -> None:
        self.draining = False
        self.known = False
        self.active = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._meters = meters
        self._healthy = healthy

    @property
    def ready(self) -> bool:
        """Models are known, the ledger can be written, and nobody has asked us to stop."""
        return self.known and self._healthy() and not self.draining

    def begin(self) -> None:
        self.active += 1
        self._idle.clear()

    def end(self) -> None:
        self.active -= 1
        if not self.active:
            self._idle.set()

    async def idle(self) -> None:
        """Wait until no request is under way."""
        await self._idle.wait()

    def plain(self, request: web.BaseRequest) -> web.Response | None:
        """The answers that need no key; None for other addresses."""
        if request.method != "GET":
            return None
        if request.path == "/healthz":
            return web.Response(text="ok\n")
        if request.path == "/readyz":
            return web.Response(status=200 if self.ready else 503, text=f"{self._why()}\n")
        if request.path == "/metrics":
            return web.Response(
                body=self._meters.text(),
                headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
            )
        return None

    def _why(self) -> str:
        if self.draining:
            return "stopping"
        if not self.known:
            return "no models are known yet"
        return "ok" if self._healthy() else "the ledger cannot be written"
