"""How does the operator start, lead, and stop?

Watches run in every replica, workers only in the one with the Lease. Kopf is used for its watches
and indices alone, so it writes nothing. Whatever ends unexpectedly ends the process: being started
anew is safe at any point, running on half is not.
"""

import asyncio
import logging
import os
import signal
import sys
import time
from typing import Any

import kopf
from aiohttp import web

from preamar.cluster.census import census
from preamar.cluster.connect import connect
from preamar.cluster.fenced import FencedCluster
from preamar.cluster.lease import KubernetesLease
from preamar.cluster.live import LiveCluster
from preamar.core.plan import Event
from preamar.core.pods import PodView
from preamar.demand.accounts import AccountAggregator
from preamar.demand.aggregator import Changes, DemandAggregator
from preamar.demand.engine_scraper import EngineScraper
from preamar.demand.receiver import InternalKey
from preamar.protocol.demand import Demand
from preamar.shell import probes
from preamar.shell.audit import Audit
from preamar.shell.fast_wake import FastWake
from preamar.shell.figures.metrics import Metrics
from preamar.shell.figures.training_figures import TrainingFigures
from preamar.shell.kinds import serving, tenants, training
from preamar.shell.kinds.claims import Claims
from preamar.shell.kinds.habits import Habits
from preamar.shell.lease import LeaseKeeper
from preamar.shell.login import login
from preamar.shell.options import Options
from preamar.shell.passes import Passes
from preamar.shell.polling.exit_poller import ExitPoller
from preamar.shell.polling.progress import Poller
from preamar.shell.watching.crds import kinds_are_there
from preamar.shell.watching.expectations import Expectations
from preamar.shell.watching.keys import JOB_KIND, SERVICE_KIND, TENANT_KIND, Key
from preamar.shell.watching.kopf_settings import kopf_settings
from preamar.shell.watching.mirror import Mirror, Watched, children_of_kind
from preamar.shell.watching.watch_health import WatchHealth, hearing
from preamar.shell.workqueue import WorkQueue

log = logging.getLogger(__name__)
PODS = children_of_kind("v1", "Pod", "pods")
SERVICES = children_of_kind("v1", "Service", "services")
SWITCH_SECONDS = 0.0005


async def run(options: Options, stopping: asyncio.Event | None = None) -> int:
    """Run until told to stop (0), by SIGTERM or by ``stopping``, or until something breaks (1).
    Raises ``Unreachable``."""
    # A thread that has something to do gets the interpreter after this long, not after 5 ms: the
    # one that wakes services does a handful of short things for each.
    sys.setswitchinterval(SWITCH_SECONDS)
    if options.kubeconfig:
        os.environ["KUBECONFIG"] = options.kubeconfig  # where Kopf looks
    with hearing() as ears:
        async with connect(options.kubeconfig) as client:
            return await _Operator(options, ears, client, stopping).run()


class _Operator:
    """All parts, put together."""

    def __init__(
        self, options: Options, ears: WatchHealth, client: Any, stopping: asyncio.Event | None
    ) -> None:
        self.options = options
        self.client = client
        self.metrics = Metrics()
        self.stopping = stopping or asyncio.Event()
        self.kopf_stop = asyncio.Event()
        leases = KubernetesLease(client, options.lease_namespace, "preamar-operator")
        self.keeper = LeaseKeeper(leases, options.identity or _identity())
        live = LiveCluster(client, self.metrics.requested)
        cluster = FencedCluster(live, self.keeper.seconds_left)
        self.mirror = Mirror()
        self.aggregator = DemandAggregator()
        self.accounts = AccountAggregator()
        self.scraper = EngineScraper(self._demand_seen, options.metrics_port)
        self.registry = kopf.OperatorRegistry()
        self.poller = Poller(self.add, options.agent_port)
        self.metrics.registry.register(TrainingFigures(self.poller))
        self.ends = ExitPoller(self.add, options.agent_port)
        self.internal = InternalKey(options.secrets / "internal-key")
        claims = Claims(cluster)
        habits = Habits()
        kinds = {
            SERVICE_KIND: serving.register(
                self.registry,
                self.mirror,
                self.add,
                claims=claims,
                demand_of=self.demand_of,
                accounts=self.accounts,
                scraper=self.scraper,
                habits=habits,
                settings=options.settings,
                metrics=self.metrics,
            ),
            JOB_KIND: training.register(
                self.registry,
                self.mirror,
                self.add,
                claims=claims,
                poller=self.poller,
                ends=self.ends,
                settings=options.settings,
                metrics=self.metrics,
                key=self.internal,
            ),
            TENANT_KIND: tenants.register(self.registry, self.mirror, self.add, self.accounts),
        }
        self.mirror.watch_children(self.registry, PODS, PodView.of, self.add)
        self.mirror.watch_children(self.registry, SERVICES, lambda _body: None, self.add)
        kopf.on.login(registry=self.registry)(login)
        kopf.on.startup(registry=self.registry)(self._kopf_started)
        self.ahead = Expectations()
        passes = Passes(cluster, self.mirror, kinds, self.ahead)
        self.queue: WorkQueue[Key] = WorkQueue(
            passes, workers=options.workers, on_pass=self._passed
        )
        self.wakes = FastWake(
            options,
            self.aggregator,
            self.mirror,
            self.keeper.seconds_left,
            habits.last,
            self._demand_changed,
            self._awake,
            self.accounts,
            self._accounted,
        )
        self.metrics.depth.set_function(lambda: self.queue.depth)
        self.metrics.leader.set_function(lambda: float(self.keeper.seconds_left() > 0))
        self.health = probes.OperatorHealth(self.mirror, ears, self._oldest, self.metrics)
        self.audit = Audit(self.mirror, self.health, self.add, self._census, options.namespaces)

    def add(self, key: Key) -> None:
        """Something about this resource may have changed."""
        self.queue.add(key)

    def demand_of(self, service: str) -> Demand:
        """What is asked of a service now."""
        return self.aggregator.demand(service, time.monotonic())

    async def run(self) -> int:
        """Run until a stop is asked for or a part ends."""
        servers = [
            await self._listen(
                probes.application(self.health, self.metrics), self.options.probe_port
            )
        ]
        await self.wakes.start()
        tasks: list[asyncio.Task[Any]] = []
        self._take_signals()
        try:
            if not await kinds_are_there(self.client, self.stopping):
                return 0
            parts = {
                "stop": self.stopping.wait(),
                "pulse": self.health.beat(),
                "progress": self.poller.run(),
                "scraper": self.scraper.run(),
                "wakes": self.wakes.ended(),
                "audit": self.audit.run(),
                "leader": self._lead(),
                "watches": self._watch(),
            }
            tasks = [asyncio.create_task(part, name=name) for name, part in parts.items()]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            failed = [task for task in done if task.get_name() != "stop"]
            for task in failed:
                reasons = ", ".join(_reasons(task)) or "for no reason"
                log.error("%s ended: %s", task.get_name(), reasons)
            return 1 if failed else 0
        finally:
            await self.wakes.stop()
            await self.queue.stop()
            await self.keeper.release()
            self.kopf_stop.set()
            self.ends.close()
            await _end(tasks)
            for server in servers:
                await server.cleanup()

    async def _lead(self) -> None:
        """Work while the Lease is ours."""
        while not self.health.indices_full():  # noqa: ASYNC110  # Kopf has no event for it
            await asyncio.sleep(0.05)
        # Kopf took the signals as it began; we stop in our own order and tell it then.
        self._take_signals()
        await self.keeper.acquire()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.keeper.keep())
            group.create_task(self.queue.run())

    async def _watch(self) -> None:
        # Kopf ends every task begun after it when it ends; all others of ours exist by now.
        await asyncio.sleep(0)
        await kopf.operator(
            registry=self.registry,
            settings=kopf_settings(self.mirror.watched),
            clusterwide=not self.options.namespaces,
            namespaces=self.options.namespaces,
            stop_flag=self.kopf_stop,
        )

    async def _kopf_started(self, **kwargs: Any) -> None:
        self.mirror.connect(kwargs)

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)

    def _demand_changed(self, changes: Changes) -> None:
        for service in changes.changed | changes.urgent:
            namespace, _, name = service.partition("/")
            self.queue.add(Key(SERVICE_KIND, namespace, name), urgent=service in changes.urgent)

    def _awake(self, key: Key, version: int, replicas: int, events: tuple[Event, ...]) -> None:
        self.ahead.scaled(key, version, replicas, events)
        for event in events:
            self.metrics.resized(event.reason)

    def _accounted(self, tenants: frozenset[str], services: frozenset[str]) -> None:
        for tenant in tenants:
            self.queue.add(Key(TENANT_KIND, "", tenant))
        for service in services:
            self._demand_seen(service)

    def _demand_seen(self, service: str) -> None:
        namespace, _, name = service.partition("/")
        self.queue.add(Key(SERVICE_KIND, namespace, name))

    def _passed(self, key: Key, seconds: float, error: BaseException | None) -> None:
        self.metrics.passed(key.kind, seconds, error)

    def _oldest(self) -> float:
        """A standby's keys wait for the Lease, and that is as it should be."""
        return self.queue.oldest_seconds() if self.keeper.seconds_left() > 0 else 0.0

    async def _census(self, watched: Watched, namespace: str) -> dict[str, int]:
        return await census(
            self.client, watched.api_version, watched.plural, namespace, watched.selector
        )

    async def _listen(self, app: web.Application, port: int) -> web.AppRunner:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
        await runner.setup()
        await web.TCPSite(runner, self.options.host, port).start()
        return runner


def _identity() -> str:
    """The pod's name; anywhere else something that no other process has."""
    return os.environ.get("POD_NAME") or f"{os.uname().nodename}-{os.getpid()}"


def _reasons(task: asyncio.Task[Any]) -> list[str]:
    """Why a task ended; a group of tasks has a reason for each that failed."""
    if task.cancelled():
        return ["it was cancelled"]
    error = task.exception()
    if isinstance(error, BaseExceptionGroup):
        return [str(each) or type(each).__name__ for each in error.exceptions]
    return [] if error is None else [str(error) or type(error).__name__]


async def _end(tasks: list[asyncio.Task[Any]]) -> None:
    """Give Kopf a moment to close its watches, then end everything."""
    if tasks:
        await asyncio.wait(tasks[-1:], timeout=3.0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
