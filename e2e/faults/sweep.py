"""One run of a workload, with a crash at one point or none; and all points of all workloads.

First each workload runs twice without a fault: the writes that both sent are the points, and the
end that both reached is the one to reach. Then one run for each point and side.
"""

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from e2e.clusters.bare import free_ports
from e2e.clusters.pki import kubeconfig
from e2e.faults import oracles
from e2e.faults.operators import Operator, Setup
from e2e.faults.proxy import Point, Proxy, client_context, server_context
from e2e.faults.workloads import WORKLOADS
from e2e.faults.world import Gateway, Kubelet, World

KEY = "faults"
WORKLOAD_SECONDS = 90.0
# After a restart: the promise is 30 s; demand alone is unknown for the first five.
CONVERGE_SECONDS = 30.0
QUIET_SECONDS = 1.5
# The run to compare with must have come to rest: demand is unknown for five seconds after a start.
REST_SECONDS = 7.0


@dataclass(frozen=True, slots=True)
class Bench:
    """What all runs share: the API server, certificates of the proxy, a place for logs."""

    server: str
    pki: Path
    proxy_pki: Path
    directory: Path
    logs: Path
    bug: str = ""


@dataclass(slots=True)
class Run:
    """What came of one run."""

    workload: str
    point: str
    verdict: str
    seconds: float
    converged_seconds: float | None = None
    problems: list[str] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, int] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)

    def told(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "workload": self.workload,
            "point": self.point,
            "verdict": self.verdict,
            "seconds": round(self.seconds, 1),
            "convergedSeconds": self.converged_seconds and round(self.converged_seconds, 1),
            "problems": self.problems[:20],
        }


async def run(bench: Bench, name: str, point: Point | None, wanted: Run | None) -> Run:
    """One run; ``wanted`` is the run without a fault to compare with."""
    began = time.monotonic()
    async with _stage(bench, f"{name}-{uuid.uuid4().hex[:8]}") as stage:
        world, proxy, operator, gateway = stage
        proxy.point, proxy.crash = point, operator.kill
        result = Run(name, str(point) if point else "none", "passed", 0.0)
        operator.start()
        reviver = asyncio.create_task(_revive(proxy, operator))
        converged_from = time.monotonic()
        try:
            async with asyncio.timeout(WORKLOAD_SECONDS):
                await WORKLOADS[name](world, gateway)
            if point is not None and not proxy.crashed.is_set():
                # The write may come a moment after what the user waits for.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(5):
                        await proxy.crashed.wait()
            converged_from = time.monotonic()
            result.problems = await _settle(world, proxy, wanted)
        except (TimeoutError, RuntimeError) as error:
            result.problems = [f"the workload did not get on: {error}"]
            found = await oracles.snapshot(world)
            if wanted is not None:
                result.problems += oracles.differences(wanted.state, found)
            else:
                told = {name: part.get("status", part) for name, part in found.items()}
                result.problems.append(json.dumps(told, sort_keys=True)[:6000])
        result.converged_seconds = time.monotonic() - converged_from
        if not operator.alive:
            result.problems.append("the operator ended by itself")
        result.state = await oracles.snapshot(world)
        result.summary = oracles.summary(proxy.writes)
        result.writes = [write.name for write in proxy.writes]
        result.problems += await oracles.strays(world) + oracles.careless(proxy.writes)
        if wanted is not None:
            result.problems += oracles.differences(wanted.summary, result.summary, "writes")
        reached = point is None or proxy.crashed.is_set()
        result.verdict = "failed" if result.problems else "passed" if reached else "not reached"
        reviver.cancel()
    result.seconds = time.monotonic() - began
    return result


async def _settle(world: World, proxy: Proxy, wanted: Run | None) -> list[str]:
    """Wait until nothing is written any more and the state is the one to reach."""
    deadline = time.monotonic() + CONVERGE_SECONDS
    while True:
        count = len(proxy.writes)
        await asyncio.sleep(QUIET_SECONDS if wanted else REST_SECONDS)
        quiet = len(proxy.writes) == count
        state = await oracles.snapshot(world)
        wrong = oracles.differences(wanted.state, state) if wanted else []
        if quiet and not wrong:
            return []
        if time.monotonic() > deadline:
            return wrong or [f"still writing: {proxy.writes[-1].name}"]


async def _revive(proxy: Proxy, operator: Operator) -> None:
    """As a kubelet would: the container ended, start it anew."""
    await proxy.crashed.wait()
    await asyncio.to_thread(operator.join)
    operator.start()


@contextlib.asynccontextmanager
async def _stage(
    bench: Bench, namespace: str
) -> AsyncIterator[tuple[World, Proxy, Operator, Gateway]]:
    """A namespace with its own proxy, operator, gateway, kubelet and agent."""
    connector = aiohttp.TCPConnector(ssl=client_context(bench.pki), limit=0)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    probe, demand, agent = free_ports(3)
    async with (
        aiohttp.ClientSession(
            connector=connector, timeout=timeout, auto_decompress=True
        ) as session,
        contextlib.AsyncExitStack() as stack,
    ):
        world = World(bench.server, session, namespace)
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        await world.call("POST", "/api/v1/namespaces", body)
        # Without its account no pod can be made, and controllers wait long before another try.
        account = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
        await world.until("the default account exists", lambda: world.call("GET", account))
        proxy = Proxy(bench.server, session, server_context(bench.proxy_pki))
        port = await proxy.start()
        stack.push_async_callback(proxy.stop)
        config = kubeconfig(
            bench.directory / f"{namespace}.kubeconfig",
            f"https://127.0.0.1:{port}",
            bench.proxy_pki,
            "admin",
        )
        operator = Operator(
            Setup(
                kubeconfig=str(config),
                namespace=namespace,
                secrets=str(bench.directory),
                log=str(bench.logs / f"{namespace}.log"),
                probe_port=probe,
                demand_port=demand,
                agent_port=agent,
                bug=bench.bug,
            )
        )
        stack.callback(operator.stop)
        gateway = Gateway(demand, KEY)
        tasks = [
            asyncio.create_task(part)
            for part in (gateway.run(), Kubelet(world).run(), _agent(agent))
        ]
        try:
            yield world, proxy, operator, gateway
        finally:
            operator.stop()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await world.call("DELETE", f"/api/v1/namespaces/{namespace}")


async def _agent(port: int) -> None:
    """Rank 0's agent, at a step from which it does not move: progress is not what is tried here."""

    async def progress(_request: web.Request) -> web.Response:
        told = {"attempt": 1, "state": "Training", "step": 1, "steps": 10, "loss": 1.0}
        return web.json_response(told | {"samplesPerSecond": 1.0, "consumed": 8})

    app = web.Application()
    app.router.add_get("/progress", progress)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def points(first: Run, second: Run, most: int) -> list[Point]:
    """Both sides of the writes that both runs sent, thinned evenly to at most ``most``."""
    common = [name for name in first.writes if name in set(second.writes)]
    found = [Point(name, side) for name in common for side in ("before", "after")]
    if len(found) <= most:
        return found
    return [found[index * len(found) // most] for index in range(most)]
