"""A model that knows what it made: it answers each request with as many tokens as were asked for.

The prompt is a number, and the model says that it has that many input tokens: so every row of the
ledger names the request that it is of.
"""

import asyncio
import json
from collections import Counter
from typing import Self

from aiohttp import web

PAUSE_SECONDS = 0.004


class CountingModel:
    """``made`` tokens by request, and how often each was asked for, on a port of loopback. With
    ``at_once`` it has so many places, and each request takes one for ``work_seconds``."""

    def __init__(self, at_once: int = 0, work_seconds: float = 0.0) -> None:
        self._slots = asyncio.Semaphore(at_once) if at_once else None
        self._work_seconds = work_seconds
        self._connections: set[asyncio.Transport] = set()
        self.made: Counter[int] = Counter()
        self.asked: Counter[int] = Counter()
        self.running: Counter[int] = Counter()
        self.left: dict[int, float] = {}
        self.port = 0

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/v2/models/{model}/config", self._config)
        app.router.add_post("/v2/models/{model}/generate_stream", self._stream)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await self.listen()
        return self

    async def listen(self) -> None:
        """Take connections: at first on any port, later on the same one again."""
        self._site = web.TCPSite(
            self._runner, "127.0.0.1", self.port, backlog=1024, reuse_address=True
        )
        await self._site.start()
        self.port = self._runner.addresses[0][1]

    async def die(self) -> int:
        """As a killed process: nobody listens, and all that ran is cut; returns how many that were."""
        await self._site.stop()
        return self.cut()

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def idle(self, seconds: float) -> None:
        """Wait until nothing runs. Raises ``TimeoutError``."""
        async with asyncio.timeout(seconds):
            while self.running.total():  # noqa: ASYNC110 - each request ends by itself
                await asyncio.sleep(0.02)

    def cut(self) -> int:
        """Die in the middle of all that runs, as a killed process does; returns how many that were."""
        cut = list(self._connections)
        for transport in cut:
            transport.abort()
        return len(cut)

    async def _config(self, _request: web.Request) -> web.Response:
        return web.json_response({"parameters": {"max_context": {"string_value": "1000000000"}}})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        asked = json.loads((await request.json())["REQUEST"])
        number, most = int(asked["prompt"]), int(asked["max_tokens"])
        self.asked[number] += 1
        if self._slots is not None:
            async with self._slots:
                await asyncio.sleep(self._work_seconds)
        transport = request.transport
        assert transport is not None
        self._connections.add(transport)
        self.running[number] += 1
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        try:
            await response.prepare(request)
            for token in range(1, most + 1):
                self.made[number] = max(self.made[number], token)
                told = {
                    "TEXT": "t ",
                    "INPUT_TOKENS": number,
                    "OUTPUT_TOKENS": token,
                    "FINISH_REASON": "length" if token == most else "",
                }
                await response.write(b"data: " + json.dumps(told).encode() + b"\n\n")
                if most > 8:
                    await asyncio.sleep(PAUSE_SECONDS)
            await response.write_eof()
        except ConnectionError:
            pass  # the gateway died, or its caller left
        finally:
            self._connections.discard(transport)
            self.running[number] -= 1
            self.left[number] = asyncio.get_running_loop().time()
        return response
