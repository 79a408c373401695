"""The second witness: what do the model servers themselves have? Each ready pod is asked every 5 s.

It sees callers who bypass the gateways, and what runs while a gateway is silent. It raises demand
and never lowers it: a pod that does not answer, or has not for 15 s, says nothing, and where the
gateways are whole they are believed without it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from zlib import crc32

import aiohttp

from preamar.demand.triton import Reading, in_flight, read
from preamar.protocol import ports
from preamar.protocol.demand import Demand
from preamar.protocol.engine_gauges import LARGEST_ANSWER, url_of

log = logging.getLogger(__name__)
EVERY_SECONDS, DEADLINE_SECONDS, STALE_SECONDS = 5.0, 2.0, 15.0
# Pods are asked in turns, so that many do not all answer in the same moment.
TURNS = 20
AT_ONCE = 50


def witnessed(demand: Demand, seen: int | None) -> Demand:
    """Demand with what the model servers say. They and the gateways count the same requests, so
    the larger counts, not the sum; what waits in gateways no server has seen."""
    if seen is None:
        return demand
    most = seen + demand.queued
    whole = demand.in_flight
    return replace(
        demand,
        at_least=max(demand.at_least, most),
        in_flight=None if whole is None else max(whole, most),
    )


@dataclass(slots=True)
class _Pod:
    service: str
    ip: str
    at: float = float("-inf")
    seen: int | None = None
    readings: dict[str, Reading] = field(default_factory=dict)
    asked: bool = False


@dataclass(slots=True)
class _Service:
    pods: dict[str, _Pod] = field(default_factory=dict)
    told: int | None = None


class EngineScraper:
    """Asks the pods of the services that passes name; ``changed`` hears of a service whose answer
    is another one now."""

    def __init__(self, changed: Callable[[str], None], port: int = ports.MODEL_METRICS) -> None:
        self._changed = changed
        self._port = port
        self._services: dict[str, _Service] = {}
        self._turns: tuple[dict[tuple[str, str], _Pod], ...] = tuple({} for _ in range(TURNS))

    def follow(self, service: str, ips: Iterable[str]) -> None:
        """These are the ready pods of a service from now on."""
        wanted = frozenset(ips)
        had = self._services.get(service)
        if not wanted:
            self.leave(service)
            return
        if had is None:
            had = self._services[service] = _Service()
        for ip in had.pods.keys() - wanted:
            self._drop(had.pods.pop(ip))
        for ip in wanted - had.pods.keys():
            pod = had.pods[ip] = _Pod(service, ip)
            self._turn(pod)[service, ip] = pod

    def leave(self, service: str) -> None:
        """Ask its pods no more."""
        had = self._services.pop(service, None)
        for pod in had.pods.values() if had else ():
            self._drop(pod)

    def seen(self, service: str, now: float | None = None) -> int | None:
        """Requests that the pods of a service have at least; None if none of them says."""
        moment = time.monotonic() if now is None else now
        had = self._services.get(service)
        said = [
            pod.seen
            for pod in (had.pods.values() if had else ())
            if pod.seen is not None and moment - pod.at <= STALE_SECONDS
        ]
        return sum(said) if said else None

    async def run(self) -> None:
        """Ask until cancelled. Proxies of the environment are for the world outside; connections
        are closed, because one that is kept holds up a server that wants to stop."""
        limits = aiohttp.ClientTimeout(total=DEADLINE_SECONDS)
        allowed = asyncio.Semaphore(AT_ONCE)
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with (
            aiohttp.ClientSession(timeout=limits, connector=connector, trust_env=False) as session,
            asyncio.TaskGroup() as group,
        ):
            while True:
                for turn in self._turns:
                    for pod in tuple(turn.values()):
                        if not pod.asked:
                            pod.asked = True
                            group.create_task(self._ask(session, allowed, pod))
                    await asyncio.sleep(EVERY_SECONDS / TURNS)

    async def _ask(
        self, session: aiohttp.ClientSession, allowed: asyncio.Semaphore, pod: _Pod
    ) -> None:
        try:
            async with allowed:
                readings = read(await self._get(session, pod.ip))
            now = time.monotonic()
            pod.seen = in_flight(readings, pod.readings, now - pod.at)
            pod.at, pod.readings = now, readings
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            log.debug("%s says nothing of its load: %s", pod.ip, error or type(error).__name__)
        finally:
            pod.asked = False
        had = self._services.get(pod.service)
        if had is not None and (seen := self.seen(pod.service)) != had.told:
            had.told = seen
            self._changed(pod.service)

    async def _get(self, session: aiohttp.ClientSession, ip: str) -> str:
        async with session.get(url_of(ip, self._port)) as response:
            response.raise_for_status()
            body = bytearray()
            async for piece in response.content.iter_chunked(65536):
                body += piece
                if len(body) > LARGEST_ANSWER:
                    raise ValueError("the answer has no end")
            return body.decode()

    def _turn(self, pod: _Pod) -> dict[tuple[str, str], _Pod]:
        return self._turns[crc32(pod.ip.encode()) % TURNS]

    def _drop(self, pod: _Pod) -> None:
        del self._turn(pod)[pod.service, pod.ip]
