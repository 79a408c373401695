"""Is a replica ready before Kubernetes says so?

The kubelet looks once in one or two seconds, and its word comes by pod, EndpointSlice and watch. While
callers wait for a model that wakes, its starting replicas are asked the same question here, ten
times a second. A yes counts for a while, and then only if an EndpointSlice says it too.
"""

import asyncio
from collections.abc import Callable, Iterable
from time import monotonic

from preamar.gateway.discovery.resources import Address
from preamar.gateway.wire.connections import ConnectionLost, CutShort, Exchange, NotSent, Pool

EVERY_SECONDS, DEADLINE_SECONDS = 0.1, 1.0
TRUST_SECONDS = 15.0
MOST_ASKED = 16


class Readiness:
    """Asks starting replicas of one model while ``wanted`` says so; ``came`` is called when what
    is believed has changed."""

    def __init__(self, wanted: Callable[[], bool], came: Callable[[], None]) -> None:
        self._wanted, self._came = wanted, came
        self._starting: frozenset[Address] = frozenset()
        self._until: dict[Address, float] = {}
        self._task: asyncio.Task[None] | None = None

    def follow(self, starting: Iterable[Address]) -> None:
        """The replicas that the EndpointSlices name and do not call ready."""
        self._starting = frozenset(starting)
        now = monotonic()
        # An address that is ready, leaves or is gone needs no belief.
        self._until = {a: t for a, t in self._until.items() if a in self._starting and t > now}

    @property
    def believed(self) -> frozenset[Address]:
        """The replicas that said that they are ready."""
        now = monotonic()
        return frozenset(address for address, until in self._until.items() if until > now)

    def ask(self, model: str) -> None:
        """Ask from now on, if there is anybody to ask."""
        if self._starting and self._wanted() and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._ask(model))

    async def _ask(self, model: str) -> None:
        while self._wanted() and self._starting:
            begun = monotonic()
            asked = sorted(self._starting, key=lambda a: a.pod)[:MOST_ASKED]
            answers = await asyncio.gather(*(ready(address, model) for address in asked))
            good = {address for address, yes in zip(asked, answers, strict=True) if yes}
            if yes := good & self._starting:  # which may have changed meanwhile
                self._until |= dict.fromkeys(yes, monotonic() + TRUST_SECONDS)
                # A little later than the end of trust, so that the clock has passed it for sure.
                asyncio.get_running_loop().call_later(TRUST_SECONDS + 0.01, self._came)
                self._came()
            await asyncio.sleep(max(0.0, EVERY_SECONDS - (monotonic() - begun)))


async def ready(address: Address, model: str) -> bool:
    """Whether the model server says that it can answer for this model: what the kubelet asks."""
    pool = Pool(address.ip, address.http, DEADLINE_SECONDS)
    exchange: Exchange | None = None
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            exchange = await pool.connect()
            line = f"GET /v2/models/{model}/ready HTTP/1.1\r\nHost: ".encode()
            head = await exchange.send(line + pool.host + b"\r\n\r\n")
            return head.status == 200
    except (NotSent, ConnectionLost, CutShort, TimeoutError):
        return False
    finally:
        if exchange is not None:
            exchange.abort()
