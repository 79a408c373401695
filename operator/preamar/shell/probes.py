"""Is the operator alive, and is it ready? Answered on a port of its own, with the metrics.

Alive: every watch has a task and was heard lately, no key waits too long, the loop turns. Ready:
every index is full, whether this replica leads or stands by. Each answer names what is wrong.
"""

import asyncio
import time
from collections.abc import Callable, Iterator

from aiohttp import web

from preamar.shell.figures.metrics import Metrics
from preamar.shell.watching.mirror import Mirror
from preamar.shell.watching.watch_health import WatchHealth

# Bookmarks come about every 60 s; without one Kopf connects anew after 70 s, which is heard as well.
SILENT_SECONDS = 90.0
# A watch whose task ended is given this long to be started anew.
ENDED_SECONDS = 20.0
# A pass may take 60 s; a key that waits longer than this will wait for ever.
OLDEST_SECONDS = 120.0
LAG_SECONDS = 10.0
BEAT_SECONDS = 0.5


class OperatorHealth:
    """What the probes look at."""

    def __init__(
        self, mirror: Mirror, ears: WatchHealth, oldest: Callable[[], float], metrics: Metrics
    ) -> None:
        self._mirror = mirror
        self._ears = ears
        self._oldest = oldest
        self._metrics = metrics
        self._beat = time.monotonic()
        self._lags: list[tuple[float, float]] = []
        self._ended: dict[str, float] = {}
        self.worry: str | None = None

    def indices_full(self) -> bool:
        """Whether no decision can be taken on half a picture. Handlers run only when all indices
        are full; where nothing was listed none runs, and there is nothing to wait for."""
        listed = all(watched.plural in self._ears.listed for watched in self._mirror.watched)
        return listed and (self._mirror.full or self._ears.objects == 0)

    def problems(self) -> Iterator[str]:
        """One sentence for each reason to be restarted."""
        now = time.monotonic()
        for watched in self._mirror.watched:
            name = watched.plural
            if name not in self._ears.at:
                continue  # not begun: readiness tells
            if name in self._ears.ended:
                if now - self._ended.setdefault(name, now) > ENDED_SECONDS:
                    yield f"the watch of {name} has ended"
                continue
            self._ended.pop(name, None)
            silent = self._ears.silent_seconds(name)
            if silent > SILENT_SECONDS:
                yield f"the watch of {name} has been silent for {silent:.0f} s"
        if (oldest := self._oldest()) > OLDEST_SECONDS:
            yield f"a key has waited for {oldest:.0f} s"
        if (late := now - self._beat - BEAT_SECONDS) > LAG_SECONDS:
            yield f"the event loop was blocked for {late:.0f} s"
        if self.worry:
            yield self.worry

    async def beat(self) -> None:
        """Feel the loop's pulse until cancelled."""
        while True:
            self._beat = time.monotonic()
            await asyncio.sleep(BEAT_SECONDS)
            now = time.monotonic()
            self._lags.append((now, max(0.0, now - self._beat - BEAT_SECONDS)))
            self._lags = [(at, lag) for at, lag in self._lags if now - at < 60]
            self._metrics.lag.set(max(lag for _, lag in self._lags))
            self._metrics.oldest.set(self._oldest())
            for watched in self._mirror.watched:
                if watched.plural in self._ears.at:
                    silent = self._ears.silent_seconds(watched.plural)
                    self._metrics.silence.labels(watched.plural).set(silent)


def application(health: OperatorHealth, metrics: Metrics) -> web.Application:
    """``/healthz``, ``/readyz`` and ``/metrics``."""

    async def healthz(_request: web.Request) -> web.Response:
        problems = "\n".join(health.problems())
        return web.Response(status=503 if problems else 200, text=(problems or "ok") + "\n")

    async def readyz(_request: web.Request) -> web.Response:
        if health.indices_full():
            return web.Response(text="ok\n")
        return web.Response(status=503, text="the first lists are not complete\n")

    async def figures(_request: web.Request) -> web.Response:
        return web.Response(
            body=metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4"}
        )

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", figures)
    return app
