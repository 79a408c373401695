"""The gateway as a process: what is started, in which order it stops, and with which exit code.

SIGTERM: not ready any more, but serving until everybody knows; then no new connections; requests
under way end within the grace, others are cut and recorded; the ledger is flushed; exit 0.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import uvloop

from preamar.gateway.auth.keyring import Keyring
from preamar.gateway.discovery import catalog
from preamar.gateway.discovery.watcher import Watcher
from preamar.gateway.endpoints.admin import Admin
from preamar.gateway.endpoints.grpc import GrpcDoor
from preamar.gateway.endpoints.health import GatewayHealth
from preamar.gateway.endpoints.http import HttpDoor
from preamar.gateway.limits.reservations import Reservations
from preamar.gateway.metering.admission import Admission
from preamar.gateway.metering.metrics import Meters
from preamar.gateway.metering.usage_recorder import UsageRecorder
from preamar.gateway.relay.shadow import Comparer
from preamar.gateway.relay.upstream import Timeouts, Upstream
from preamar.gateway.reporting.accounts import Accounts
from preamar.gateway.reporting.demand import Reporter
from preamar.gateway.reporting.drift import Reconciler
from preamar.gateway.reporting.engine_scraper import Engines
from preamar.gateway.routing.registry import ModelRegistry
from preamar.gateway.settings import (
    Secrets,
    Settings,
    Unset,
    read_secrets,
    read_url,
    settings_of,
)
from preamar.gateway.wire.listener import Port
from preamar.ledger.store.backend import Backend, OneFile, Shared
from preamar.ledger.store.sqlite import StoreUnusable
from preamar.ledger.tables.schema import SchemaMismatch
from preamar.protocol.accounts import Drift

log = logging.getLogger(__name__)
FLUSH_SECONDS = 15.0


class Gateway:
    """All parts of one gateway, put together."""

    def __init__(self, settings: Settings, secrets: Secrets) -> None:
        self.settings = settings
        self._loop: asyncio.AbstractEventLoop | None = None
        self.instance = f"{settings.name[:40]}-{os.urandom(4).hex()}"
        self.home = home = self._home(settings)
        self.engine = home.engine
        self.keyring = Keyring(home.engine, secrets.pepper, home.keys_cache)
        self.keyring.begin()
        self.meters = Meters()
        self.health = GatewayHealth(self.meters, lambda: home.healthy)
        self.registry = ModelRegistry(lambda queue: self.reporter.kick(first=queue.begins))
        self.meters.watch(self.registry.queues.values)
        self.watcher = Watcher(settings, self._follow)
        self.reporter = Reporter(
            settings.name, secrets.internal_key, self.registry.queues.values, self._operators
        )
        self.reservations = Reservations(home, self.instance)
        self.engines = Engines(self.registry.queues.values)
        self.reconciler = Reconciler(self.engines, home.engine, settings.reconcile_seconds)
        self.meters.watch_drift(lambda: self.reconciler.found)
        self.accounts = Accounts(
            settings.name,
            secrets.internal_key,
            home,
            lambda: self.reservations.tenants,
            self._drifts,
            self._operators,
        )
        upstream = Upstream(Timeouts(settings.answer_seconds, settings.stall_seconds))
        recorder = UsageRecorder(home, self.meters, self.reservations, self.instance)
        admission = Admission(self.registry, self.keyring, recorder)
        self.comparer = Comparer()
        self.http = HttpDoor(settings, admission, upstream, self.health, self.comparer)
        admin = Admin(secrets.admin_key, self.keyring, self.reservations, home, self.health)
        self.data = Port(self.http.handle, settings.max_connections)
        self.admin = Port(admin.handle, 256)
        self.admin_routes = admin.routes
        self.grpc = GrpcDoor(settings, admission, self.health, self.comparer)

    def _home(self, settings: Settings) -> Backend:
        if not settings.ledger_url_file:
            return OneFile(settings.ledger, self.instance, settings.keep_days)
        url = read_url(settings.ledger_url_file)
        return Shared(settings.ledger, url, self.instance, settings.keep_days, self._forgotten)

    def _forgotten(self) -> None:
        """Called from the ledger's thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.reservations.forget)

    def _drifts(self) -> dict[str, Drift]:
        """By the service whose model it is."""
        queues = self.registry.queues
        return {
            queues[name].model.service: drift
            for name, drift in self.reconciler.found.items()
            if name in queues
        }

    def _operators(self) -> tuple[tuple[str, int], ...]:
        return catalog.operators(
            self.watcher.snapshot, self.settings.namespace, self.settings.operator_service
        )

    def _follow(self) -> None:
        snapshot = self.watcher.snapshot
        self.reservations.know(catalog.tenants(snapshot))
        self.registry.update(
            catalog.models(snapshot), catalog.replicas(snapshot), catalog.starting(snapshot)
        )
        self.grpc.follow()
        self.engines.heard()
        self.health.known = True

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listen and serve within the block; stop in order at its end."""
        self._loop = asyncio.get_running_loop()
        self.home.start()
        self.watcher.load()
        await self.admin.listen(self.settings.host, self.settings.admin_port)
        await self.data.listen(self.settings.host, self.settings.port)
        if self.settings.grpc_port >= 0:
            await self.grpc.listen(self.settings.host, self.settings.grpc_port)
        tasks = [
            asyncio.create_task(_forever(self.watcher.run, "watching models")),
            asyncio.create_task(_forever(self.keyring.follow, "following keys")),
            asyncio.create_task(_forever(self.reservations.run, "giving back leases")),
            asyncio.create_task(_forever(self.reporter.run, "reporting demand")),
            asyncio.create_task(_forever(self.accounts.run, "reporting accounts")),
            asyncio.create_task(_forever(self.reconciler.run, "comparing the ledger")),
        ]
        log.info("serving on port %d, admin on %d", self.data.number, self.admin.number)
        try:
            yield
        finally:
            await self._stop(tasks)

    async def _stop(self, tasks: list[asyncio.Task[None]]) -> None:
        self.data.refuse()
        calls = asyncio.create_task(self.grpc.close(self.settings.grace_seconds))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.settings.grace_seconds):
                await self.health.idle()
        if self.health.active:
            log.warning("%d requests did not end within the grace", self.health.active)
        await self.data.close(1.0)
        await calls
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.comparer.close()
        await self.admin.close(1.0)
        self.reservations.close()
        if not await asyncio.to_thread(self.home.stop, FLUSH_SECONDS):
            log.error("the ledger could not be flushed in %d s", FLUSH_SECONDS)
            raise SystemExit(1)


async def _forever(run: Callable[[], Awaitable[None]], what: str) -> None:
    """Start a part again that failed: none of them may end quietly."""
    while True:
        try:
            await run()
        except Exception:
            log.exception("%s failed and starts again", what)
        await asyncio.sleep(1.0)


async def serve(settings: Settings, secrets: Secrets) -> None:
    """Serve until SIGTERM or SIGINT; a second signal ends the waiting for others to know."""
    gateway = Gateway(settings, secrets)
    loop = asyncio.get_running_loop()
    asked, hurried = asyncio.Event(), asyncio.Event()

    def stop(at_once: bool) -> None:
        if asked.is_set() or at_once:
            hurried.set()
        asked.set()
        gateway.health.draining = True

    loop.add_signal_handler(signal.SIGTERM, stop, False)
    loop.add_signal_handler(signal.SIGINT, stop, True)
    async with gateway.running():
        # What exists now lives as long as the process: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        # A request leaves no cycles behind; looking for them after each few is a part of its cost.
        gc.set_threshold(20_000, 20, 20)
        await asked.wait()
        log.info("stopping: %d requests under way", gateway.health.active)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(settings.propagation_seconds):
                await hurried.wait()


def run(argv: Sequence[str]) -> int:
    """``preamar gateway``: 0 after an ordered stop, 1 on a failure, 2 when it cannot be started
    as it is told to."""
    settings = settings_of(argv)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        secrets = read_secrets(settings.secrets_dir)
        uvloop.run(serve(settings, secrets))
    except (Unset, SchemaMismatch, StoreUnusable) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    except OSError as error:
        print(f"The gateway cannot start: {error}.", file=sys.stderr)  # noqa: T201
        return 1
    return 0
