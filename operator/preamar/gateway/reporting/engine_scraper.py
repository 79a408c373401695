"""What have the model servers of each model counted since this gateway began to look?

Each is read now and then, and more often while it leaves, so that little is lost with it. What may
be lost is an interval of time: what ended in it may or may not be in the counts.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import time

import aiohttp

from preamar.gateway.discovery.resources import Address
from preamar.gateway.reporting.engine_metrics import Counts, counts_of
from preamar.gateway.routing.canary_stats import COMPARED_SECONDS
from preamar.gateway.routing.queue import ModelQueue
from preamar.ledger.reports.recorded import Interval
from preamar.protocol.engine_gauges import LARGEST_ANSWER, url_of

log = logging.getLogger(__name__)
EVERY_SECONDS, LOOK_SECONDS, LEAVING_SECONDS = 5.0, 1.0, 0.2
DEADLINE_SECONDS = 2.0
AT_ONCE = 50
MOST_GAPS = 1000


@dataclass(slots=True)
class Server:
    """One pod that is or was read. ``since`` is the time of the last reading, or of when it was
    first known, in seconds since 1970."""

    since: float
    counts: Counts | None
    due: float = 0.0
    settled: bool = False
    asked: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(slots=True, eq=False)
class Counted:
    """Of one model: counts since the gateway looks; ``gaps`` in which something may be missing or
    too much, ``silent`` servers that were never read. ``comparing`` is since when a revision on trial
    is compared: servers count these questions, of which there are no more than rows, and no gateway
    knows how many another has asked."""

    total: Counts = field(default_factory=Counts)
    gaps: deque[Interval] = field(default_factory=lambda: deque(maxlen=MOST_GAPS))
    servers: dict[Address, Server] = field(default_factory=dict)
    comparing: float | None = None

    def compares(self, now: float, compares: bool) -> None:
        """Whether a revision on trial is compared at present, in seconds since 1970."""
        if compares and self.comparing is None:
            self.comparing = now
        elif not compares and self.comparing is not None:
            self.gaps.append((self.comparing, now + COMPARED_SECONDS))
            self.comparing = None

    def unsure(self, since: float, now: float) -> list[Interval]:
        """The gaps that ended after ``since``."""
        present = [] if self.comparing is None else [(self.comparing, now)]
        return [gap for gap in (*self.gaps, *present) if gap[1] >= since]

    @property
    def silent(self) -> bool:
        """Whether a server says nothing, so that nothing can be said of them all."""
        return any(server.counts is None for server in self.servers.values())


class Engines:
    """Reads the model servers of all models. A server that is there at the first look may have
    counted before; one that came later counts from nothing."""

    def __init__(self, lines: Callable[[], Iterable[ModelQueue]]) -> None:
        self.models: dict[str, Counted] = {}
        self._lines = lines
        self._uids: dict[str, str] = {}
        self._first = True
        self._news = asyncio.Event()

    def heard(self) -> None:
        """Replicas may have come or begun to leave: the latter may be gone in a moment."""
        self._news.set()

    def look(self, now: float) -> dict[str, ModelQueue]:
        """Follow who comes and goes; the lines by model. ``now`` in seconds since 1970."""
        known = {line.model.name: line for line in self._lines()}
        for name in [
            name
            for name, uid in self._uids.items()
            if name not in known or known[name].model.uid != uid
        ]:
            del self.models[name], self._uids[name]
        for name, line in known.items():
            counted = self.models.setdefault(name, Counted())
            self._uids[name] = line.model.uid
            counted.compares(now, line.model.tolerance is not None)
            for address in line.replicas:
                if address not in counted.servers:
                    before = None if self._first else Counts()
                    counted.servers[address] = Server(now, before)
        self._first = False
        return known

    async def read(self, *, all_: bool = False) -> bool:
        """Read those whose time has come, or all of them. Returns whether one of them leaves."""
        lines = self.look(time())
        now = asyncio.get_running_loop().time()
        due, leaving = [], False
        for name, counted in self.models.items():
            for address, server in counted.servers.items():
                leaves = name not in lines or address not in lines[name].replicas
                leaving = leaving or leaves
                if all_ or server.due <= now or (leaves and server.due > now + LEAVING_SECONDS):
                    due.append((name, address, server, leaves))
        if due:
            limits = aiohttp.ClientTimeout(total=DEADLINE_SECONDS)
            # Connections are closed: one that is kept would hold up a server that wants to stop.
            connector = aiohttp.TCPConnector(limit=AT_ONCE, force_close=True)
            async with aiohttp.ClientSession(
                timeout=limits, connector=connector, trust_env=False
            ) as session:
                await asyncio.gather(*(self._ask(session, *each) for each in due))
        return leaving

    async def _ask(
        self,
        session: aiohttp.ClientSession,
        name: str,
        address: Address,
        server: Server,
        leaves: bool,
    ) -> None:
        loop = asyncio.get_running_loop()
        server.due = loop.time() + (LEAVING_SECONDS if leaves else EVERY_SECONDS)
        # One after the other, so that what is read last is the newest.
        async with server.asked:
            counted = self.models.get(name)
            if counted is None or address not in counted.servers:
                return
            try:
                found = counts_of(await _get(session, address), name)
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                log.debug("%s says nothing of what it counted: %s", address.pod, error)
                if leaves:
                    counted.servers.pop(address, None)
                if isinstance(error, aiohttp.ClientConnectorError) or leaves:
                    self._ended(counted, server)
                return
            if server.counts is not None:
                news = found.since(server.counts)
                counted.total = counted.total.plus(news)
                server.settled = leaves and not news.answered and not news.tokens
            server.counts, server.since = found, time()

    @staticmethod
    def _ended(counted: Counted, server: Server) -> None:
        """Nobody listens: it is gone, or begins anew and then counts from nothing."""
        if server.counts is not None and not server.settled:
            counted.gaps.append((server.since, time()))
            server.counts, server.since = Counts(), time()

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            self._news.clear()
            leaving = await self.read()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEAVING_SECONDS if leaving else LOOK_SECONDS):
                    await self._news.wait()


async def _get(session: aiohttp.ClientSession, address: Address) -> str:
    async with session.get(url_of(address.ip, address.metrics)) as response:
        response.raise_for_status()
        body = bytearray()
        async for piece in response.content.iter_chunked(65536):
            body += piece
            if len(body) > LARGEST_ANSWER:
                raise ValueError("the answer has no end")
        return body.decode()
