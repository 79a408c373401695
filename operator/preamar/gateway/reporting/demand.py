"""What the operator is told: how many requests wait and run and how long they take, each second and
at once when a queue begins, doubles or ends: pushes of a burst are 3, 6, 12 and in the end 50 ms
apart, but 3 ms where another sleeping model is called. Never at a request's cost.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Iterable
from itertools import chain

from preamar.gateway.routing.queue import ModelQueue
from preamar.gateway.wire.connections import ConnectionLost, CutShort, NotSent, Pool
from preamar.gateway.wire.http1 import Garbled
from preamar.protocol.demand import Carried, Load, Report, encode

log = logging.getLogger(__name__)
EVERY_SECONDS = 1.0
LEAST_APART_SECONDS, MOST_APART_SECONDS = 0.003, 0.05
# Requests that come together are told together: the next push waits for the answer to this one.
GATHER_SECONDS = 0.0015
# After this long without news a burst begins anew.
QUIET_SECONDS = 0.25
PUSH_SECONDS = 2.0
LARGEST_ANSWER = 65536
Addresses = Callable[[], tuple[tuple[str, int], ...]]


def report(gateway: str, sequence: int, lines: Iterable[ModelQueue], *, leaving: bool) -> bytes:
    """The body of a report."""
    services = {line.model.service: load(line) for line in lines}
    return json.dumps(encode(Report(gateway, sequence, services, leaving))).encode()


def load(line: ModelQueue) -> Load:
    """What is said of one model."""
    worked = line.worked
    return Load(
        queued=line.queued,
        running=line.running,
        arrived=line.arrived,
        finished=worked.finished,
        busy_seconds=worked.busy_seconds,
        first_tokens=worked.first_tokens,
        first_token_seconds=worked.first_token_seconds,
        oldest_wait=line.oldest_wait,
        pods=carried(line),
        trial=line.tried.counts() if line.tried else None,
    )


def carried(line: ModelQueue) -> dict[str, Carried]:
    """By pod IP: the requests that run there, and the output tokens they may still ask for. A pod
    that is leaving and the one that replaced it can have had the same address."""
    pods: dict[str, Carried] = {}
    for replica in chain(line.replicas.values(), line.leaving):
        if replica.in_flight:
            had = pods.get(replica.address.ip, Carried())
            pods[replica.address.ip] = Carried(
                had.running + replica.in_flight, had.tokens_left + replica.tokens_left
            )
    return pods


class Reporter:
    """Pushes reports to every replica of the operator."""

    def __init__(
        self,
        gateway: str,
        key: bytes,
        lines: Callable[[], Iterable[ModelQueue]],
        addresses: Addresses,
    ) -> None:
        self._gateway = gateway
        self._head = b"Authorization: Bearer " + key + b"\r\nContent-Type: application/json\r\n"
        self._lines = lines
        self._addresses = addresses
        self._sequence = 0
        self._pools: dict[tuple[str, int], Pool] = {}
        self._busy: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._again: set[tuple[str, int]] = set()
        self._silent: set[tuple[str, int]] = set()
        self._pushed_at = self._burst_at = 0.0
        self._apart = LEAST_APART_SECONDS
        self._timer: asyncio.TimerHandle | None = None
        self._running = False

    def kick(self, *, first: bool = False) -> None:
        """Something changed that the operator should hear at once. ``first``: a sleeping model has
        its first caller, whom a burst of other models' news must not delay."""
        if not self._running:
            return
        loop = asyncio.get_running_loop()
        if loop.time() - self._burst_at >= QUIET_SECONDS:
            self._apart = LEAST_APART_SECONDS
        apart = LEAST_APART_SECONDS if first else self._apart
        at = max(loop.time() + GATHER_SECONDS, self._pushed_at + apart)
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = loop.call_at(at, self._push_now)

    async def run(self) -> None:
        """Report until cancelled."""
        loop = asyncio.get_running_loop()
        self._running = True
        try:
            while True:
                self._push_all()
                while (left := self._pushed_at + EVERY_SECONDS - loop.time()) > 0:  # noqa: ASYNC110 - a push moves it
                    await asyncio.sleep(left)
        finally:
            self._running = False
            self._stop_timer()
            for task in self._busy.values():
                task.cancel()
            sends = [self._send(address, leaving=True) for address in self._addresses()]
            await asyncio.gather(*sends, return_exceptions=True)
            self._keep(frozenset())

    def _push_now(self) -> None:
        # The first few of a burst soon, but a queue that comes and goes all the time not each time.
        self._apart = min(MOST_APART_SECONDS, 2 * self._apart)
        self._burst_at = asyncio.get_running_loop().time()
        self._push_all()

    def _push_all(self) -> None:
        self._stop_timer()
        self._pushed_at = asyncio.get_running_loop().time()
        addresses = self._addresses()
        self._keep(frozenset(addresses))
        for address in addresses:
            self._push(address)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _keep(self, addresses: frozenset[tuple[str, int]]) -> None:
        """Close the connections to operators that are gone."""
        for address in self._pools.keys() - addresses:
            self._pools.pop(address).retire()
        self._silent &= addresses

    def _push(self, address: tuple[str, int]) -> None:
        """One push at a time per replica: a slow one gets the newest state when it is free."""
        if address in self._busy:
            self._again.add(address)
            return
        task = asyncio.get_running_loop().create_task(self._send(address, leaving=False))
        self._busy[address] = task
        task.add_done_callback(lambda _: self._freed(address))

    def _freed(self, address: tuple[str, int]) -> None:
        self._busy.pop(address, None)
        if address in self._again:
            self._again.discard(address)
            if self._running and address in self._addresses():
                self._push(address)

    async def _send(self, address: tuple[str, int], *, leaving: bool) -> None:
        self._sequence += 1
        body = report(self._gateway, self._sequence, self._lines(), leaving=leaving)
        try:
            async with asyncio.timeout(PUSH_SECONDS):
                status = await self._post(address, body)
            trouble = "" if status < 300 else f"answered {status}"
        except (NotSent, ConnectionLost, CutShort, Garbled, TimeoutError, OSError) as error:
            trouble = str(error) or type(error).__name__
        if trouble and address not in self._silent:
            self._silent.add(address)
            log.warning("the operator at %s:%d takes no demand reports: %s", *address, trouble)
        elif not trouble:
            self._silent.discard(address)

    async def _post(self, address: tuple[str, int], body: bytes) -> int:
        pool = self._pools.get(address)
        if pool is None:
            pool = self._pools[address] = Pool(*address, PUSH_SECONDS)
        head = b"POST /demand HTTP/1.1\r\nHost: %b\r\n%bContent-Length: %d\r\n\r\n"
        exchange = await pool.take()
        try:
            # On a connection that stands this is written before anything else gets its turn.
            answer = await exchange.send(head % (pool.host, self._head, len(body)), body)
            await exchange.read_all(LARGEST_ANSWER)
        except BaseException:
            exchange.abort()
            raise
        return answer.status
