"""A load that arrives when it is due, and what became of each request."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from time import monotonic

import aiohttp

from e2e.faults.money.callers import Seen, call


class Arrivals:
    """Requests with numbers of their own; every ``every``-th is a stream."""

    def __init__(self, seed: int, every: int = 4, tokens: tuple[int, int] = (100, 400)) -> None:
        self._random = random.Random(seed)
        self._every = every
        self._tokens = tokens
        self._tasks: set[asyncio.Task[None]] = set()
        self.seen: list[Seen] = []
        self.took: dict[int, float] = {}

    async def run(
        self,
        http: aiohttp.ClientSession,
        url: str,
        rate: float,
        going: Callable[[], bool],
        asked: int = 0,
    ) -> None:
        """Ask at that rate while it goes on, then wait for all answers."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while going():
            streamed = self._every > 0 and len(self.seen) % self._every == 0
            tokens = self._random.randint(*self._tokens) if streamed else self._random.randint(1, 8)
            seen = Seen(len(self.seen) + 1, asked or tokens, streamed)
            self.seen.append(seen)
            task = loop.create_task(self._one(http, url, seen))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            due += 1 / rate
            await asyncio.sleep(max(0.0, due - loop.time()))
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def _one(self, http: aiohttp.ClientSession, url: str, seen: Seen) -> None:
        began = monotonic()
        await call(http, url, seen)
        self.took[seen.number] = monotonic() - began

    @property
    def statuses(self) -> Counter[int]:
        """0: no answer at all."""
        return Counter(each.status for each in self.seen)

    def failed(self) -> list[Seen]:
        """Those that did not get their whole answer."""
        return [each for each in self.seen if not each.whole]
