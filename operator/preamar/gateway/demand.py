"""What the operator is told: how many requests wait and run and how long they take, each second and
at once when a queue begins or ends; never more than one push each 50 ms, and never at a request's
cost.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

import aiohttp

from preamar.gateway.fleet import Line

log = logging.getLogger(__name__)
EVERY_SECONDS = 1.0
APART_SECONDS = 0.05
PUSH_SECONDS = 2.0
Addresses = Callable[[], tuple[tuple[str, int], ...]]


def report(gateway: str, sequence: int, lines: Iterable[Line], *, leaving: bool) -> bytes:
    """The body of a report. Every service is in it, so that zero is said."""
    services = {line.model.service: load(line) for line in lines}
    body = {"gateway": gateway, "sequence": sequence, "services": services}
    return json.dumps(body | ({"leaving": True} if leaving else {})).encode()


def load(line: Line) -> dict[str, Any]:
    """What is said of one model. What is 0 or empty, and later than the first of these, is left
    out: most of many models are asleep."""
    worked = line.worked
    more = {
        "finished": worked.finished,
        "busySeconds": round(worked.busy_seconds, 3),
        "firstTokens": worked.first_tokens,
        "firstTokenSeconds": round(worked.first_token_seconds, 3),
        "oldestWait": round(line.oldest_wait, 3),
        "pods": carried(line),
    }
    first = {"queued": line.queued, "running": line.running, "arrived": line.arrived}
    return first | {name: value for name, value in more.items() if value}


def carried(line: Line) -> dict[str, dict[str, int]]:
    """By pod IP: the requests that run there, and the output tokens they may still ask for. A pod
    that is leaving and the one that replaced it can have had the same address."""
    pods: dict[str, dict[str, int]] = {}
    for replica in chain(line.replicas.values(), line.leaving):
        if replica.in_flight:
            pod = pods.setdefault(replica.address.ip, {"running": 0, "tokensLeft": 0})
            pod["running"] += replica.in_flight
            pod["tokensLeft"] += replica.tokens_left
    return pods


class Reporter:
    """Pushes reports to every replica of the operator."""

    def __init__(
        self, gateway: str, key: bytes, lines: Callable[[], Iterable[Line]], addresses: Addresses
    ) -> None:
        self._gateway = gateway
        self._headers = {
            "Authorization": f"Bearer {key.decode('latin-1')}",
            "Content-Type": "application/json",
        }
        self._lines = lines
        self._addresses = addresses
        self._sequence = 0
        self._changed = asyncio.Event()
        self._busy: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._again: set[tuple[str, int]] = set()
        self._silent: set[tuple[str, int]] = set()

    def kick(self) -> None:
        """Something changed that the operator should hear at once."""
        self._changed.set()

    async def run(self) -> None:
        """Report until cancelled."""
        limits = aiohttp.ClientTimeout(total=PUSH_SECONDS)
        async with aiohttp.ClientSession(timeout=limits) as session:
            try:
                while True:
                    self._changed.clear()
                    for address in self._addresses():
                        self._push(session, address)
                    await asyncio.sleep(APART_SECONDS)
                    try:
                        async with asyncio.timeout(EVERY_SECONDS - APART_SECONDS):
                            await self._changed.wait()
                    except TimeoutError:
                        continue
            finally:
                for task in self._busy.values():
                    task.cancel()
                await self._farewell(session)

    async def _farewell(self, session: aiohttp.ClientSession) -> None:
        sends = [self._send(session, address, leaving=True) for address in self._addresses()]
        await asyncio.gather(*sends, return_exceptions=True)

    def _push(self, session: aiohttp.ClientSession, address: tuple[str, int]) -> None:
        """One push at a time per replica: a slow one gets the newest state when it is free."""
        if address in self._busy:
            self._again.add(address)
            return
        task = asyncio.get_running_loop().create_task(self._send(session, address, leaving=False))
        self._busy[address] = task
        task.add_done_callback(lambda _: self._freed(session, address))

    def _freed(self, session: aiohttp.ClientSession, address: tuple[str, int]) -> None:
        self._busy.pop(address, None)
        if address in self._again:
            self._again.discard(address)
            if not session.closed and address in self._addresses():
                self._push(session, address)

    async def _send(
        self, session: aiohttp.ClientSession, address: tuple[str, int], *, leaving: bool
    ) -> None:
        self._sequence += 1
        body = report(self._gateway, self._sequence, self._lines(), leaving=leaving)
        ip, port = address
        url = f"http://{f'[{ip}]' if ':' in ip else ip}:{port}/demand"
        try:
            async with session.post(url, data=body, headers=self._headers) as response:
                trouble = "" if response.status < 300 else f"answered {response.status}"
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            trouble = str(error) or type(error).__name__
        if trouble and address not in self._silent:
            self._silent.add(address)
            log.warning("the operator at %s does not take demand reports: %s", url, trouble)
        elif not trouble:
            self._silent.discard(address)
