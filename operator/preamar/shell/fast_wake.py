"""Who writes the size of a sleeping service when its first request comes? A thread of its own.

All else that the operator does shares one event loop: while twenty new services are looked after,
what has arrived there is read a quarter of a second late (measured). So gateways report to a second
loop, which writes the size itself where that is a plain case and then tells the first, by whose
passes everything else is done. It only reads what the watches have shown, and its write names the
version that it was decided on.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, Protocol

from aiohttp import web
from pydantic import ValidationError

from preamar.cluster.call import call
from preamar.cluster.connect import connect
from preamar.cluster.execute import execute
from preamar.cluster.fenced import FencedCluster
from preamar.cluster.live import LiveCluster
from preamar.core.plan import Event, Plan
from preamar.core.serving.health.learned import seeded
from preamar.core.serving.model.images import read
from preamar.core.serving.observe import Observed
from preamar.core.serving.sizing.static_size import StaticSize
from preamar.core.serving.waking import wake
from preamar.demand import receiver
from preamar.demand.accounts import AccountAggregator
from preamar.demand.aggregator import Changes, DemandAggregator
from preamar.shell.options import Options
from preamar.shell.watching.keys import SERVICE_KIND, Key
from preamar.shell.watching.mirror import Mirror

log = logging.getLogger(__name__)
CONNECTIONS = 8
WARM_SECONDS = 20.0
"""A connection to the API server must stand when a first request comes: making one takes longer
than all the rest."""
END_SECONDS = 5.0


class Awake(Protocol):
    """Told of a size that was written: key, version, size and what there is to say of it."""

    def __call__(self, key: Key, version: int, replicas: int, events: tuple[Event, ...]) -> None:
        """In the first loop."""


class FastWake:
    """Hears gateways and wakes services. ``changed``, ``awake`` and ``accounted`` are called in the
    loop that ``start`` is called in; the changes of a report come after the size that they led to."""

    def __init__(
        self,
        options: Options,
        aggregator: DemandAggregator,
        mirror: Mirror,
        seconds_left: Callable[[], float],
        habit: Callable[[str], StaticSize | None],
        changed: Callable[[Changes], None],
        awake: Awake,
        accounts: AccountAggregator,
        accounted: Callable[[frozenset[str], frozenset[str]], None],
    ) -> None:
        self._options = options
        self._aggregator = aggregator
        self._mirror = mirror
        self._seconds_left = seconds_left
        self._habit = habit
        self._changed = changed
        self._awake = awake
        self._accounts = accounts
        self._accounted = accounted
        self._written: dict[Key, str] = {}
        self._busy: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. Raises what keeps it from doing so."""
        self._first = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._first.create_future()
        listening: asyncio.Future[None] = self._first.create_future()
        threading.Thread(target=self._work, args=(listening,), name="wakes", daemon=True).start()
        await listening

    async def ended(self) -> None:
        """When it ends; raises why."""
        await asyncio.shield(self._ended)

    async def stop(self) -> None:
        """End it."""
        if self._ended.done():
            return
        self._second.call_soon_threadsafe(self._stop.set)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await asyncio.wait([self._ended])

    def _work(self, listening: "asyncio.Future[None]") -> None:
        try:
            asyncio.run(self._serve(listening))
        except BaseException as error:  # noqa: BLE001 - told to the first loop, which ends
            self._tell(self._failed, listening, error)
        else:
            self._tell(_done, self._ended)

    def _failed(self, listening: "asyncio.Future[None]", error: BaseException) -> None:
        # Whoever waits hears it: ``start`` before it has begun, ``ended`` after that.
        (self._ended if listening.done() else listening).set_exception(error)
        _done(self._ended)

    def _tell(self, callback: Callable[..., Any], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the first loop is closed: nobody listens
            self._first.call_soon_threadsafe(callback, *arguments)

    async def _serve(self, listening: "asyncio.Future[None]") -> None:
        self._second, self._stop = asyncio.get_running_loop(), asyncio.Event()
        key = receiver.InternalKey(self._options.secrets / "internal-key")
        app = receiver.application(
            self._aggregator,
            key,
            self._heard,
            self._accounts,
            lambda *changed: self._tell(self._accounted, *changed),
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._options.host, self._options.demand_port).start()
            async with connect(self._options.kubeconfig) as client:
                self._cluster = FencedCluster(LiveCluster(client), self._seconds_left)
                self._tell(_done, listening)
                await self._keep_warm(client)
        finally:
            await runner.cleanup()

    async def _keep_warm(self, client: Any) -> None:
        while not self._stop.is_set():
            asked = [call(client, "GET", "/readyz", accept="*/*") for _ in range(CONNECTIONS)]
            await asyncio.gather(*asked, return_exceptions=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WARM_SECONDS):
                    await self._stop.wait()

    def _heard(self, changes: Changes) -> None:
        if rest := changes.changed - changes.urgent:
            self._tell(self._changed, Changes(rest, frozenset()))
        if changes.urgent:
            self._begin(self._urgent(changes))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._second.create_task(work)
        self._busy.add(task)
        task.add_done_callback(self._busy.discard)

    async def _urgent(self, changes: Changes) -> None:
        """One after another, each write under way before the next is thought about: the API server
        works on the first of many while the last is planned."""
        for service in sorted(changes.urgent):
            plan = self._plan(service)
            if plan.scale is None:
                only = frozenset({service})
                self._tell(self._changed, Changes(changes.changed & only, only))
                continue
            self._begin(self._write(_key(service), plan))  # which tells when that is done
            await asyncio.sleep(0)

    def _plan(self, service: str) -> Plan:
        key = _key(service)
        try:
            body = self._mirror.resource(key) if self._seconds_left() > 0 else None
            if body is None or self._written.get(key) == body["metadata"]["resourceVersion"]:
                return Plan()
            parsed = read(body, self._options.settings)
            demand = seeded(parsed, self._aggregator.demand(service, time.monotonic()))
            now, habit = datetime.now(UTC), self._habit(service)
            return wake(Observed(service=parsed, now=now, demand=demand, habit=habit))
        except (RuntimeError, ValidationError):
            # The first loop changed what was being read; or it cannot be read, which a pass tells.
            return Plan()

    async def _write(self, key: Key, plan: Plan) -> None:
        assert plan.scale is not None
        self._written[key] = plan.scale.version
        while len(self._written) > len(self._busy) + 1000:
            self._written.pop(next(iter(self._written)))
        outcome = await execute(self._cluster, Plan(scale=plan.scale), {})
        if outcome.error is None and outcome.version is not None:
            version, size = int(outcome.version), plan.scale.replicas
            self._tell(self._awake, key, version, size, plan.events)
        else:
            self._written.pop(key, None)
            log.info("%s was not woken at once: %s", key, outcome.error)
        service = f"{key.namespace}/{key.name}"
        self._tell(self._changed, Changes(frozenset({service}), frozenset({service})))


def _key(service: str) -> Key:
    namespace, _, name = service.partition("/")
    return Key(SERVICE_KIND, namespace, name)


def _done(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
