"""What this gateway may still let its callers use of one allowance: a lease, and who waits for more.

Taking from the lease costs nothing; where it is too small the ledger is asked once for all who wait.
Nobody gets what was not leased, so gateways that know nothing of each other cannot overspend
together. What is too much is given back soon, so that none of them starves the others.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from time import monotonic

from sqlalchemy.exc import SQLAlchemyError

from preamar.ledger.budgets.leases import Allowance, Granted

SLICE = 100
"""A lease is at most this part of an allowance, or what one request needs."""
KNOWN_SECONDS = 1.0
"""How long it is believed that nothing is left."""
IDLE_SECONDS = 5.0


class Exhausted(Exception):
    """It does not fit: ``left`` is what there is."""

    def __init__(self, allowance: Allowance, needed: int, left: int) -> None:
        super().__init__(f"{left} {allowance.unit} left of {needed}")
        self.allowance = allowance
        self.needed = needed
        self.left = left


Lend = Callable[[Allowance, int, int], Awaitable[Granted]]
GiveBack = Callable[[Allowance, int], Awaitable[None]]


class QuotaLease:
    """``free``: leased, and neither reserved nor spent; below 0 where requests took more than was
    reserved for them. ``reserved``: how many requests still hold a part."""

    def __init__(self, allowance: Allowance, lend: Lend, give_back: GiveBack) -> None:
        self.allowance = allowance
        self.free = 0
        self.reserved = 0
        self.used_at = monotonic()
        self._unwanted = 0
        self._lend = lend
        self._give_back = give_back
        self._left = allowance.most
        self._looked_at = -KNOWN_SECONDS
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._asking: asyncio.Task[None] | None = None

    @property
    def slice(self) -> int:
        """The most that this gateway keeps for itself."""
        return max(1, self.allowance.most // SLICE)

    @property
    def remaining(self) -> int:
        """What may still be used here, as far as this gateway knows."""
        return max(0, self.free + self._left)

    def take_now(self, amount: int) -> bool:
        """Reserve that much if it is there."""
        if self._waiting or amount > self.free:
            return False
        self.used_at = monotonic()
        self.free -= amount
        self.reserved += 1
        return True

    async def take(self, amount: int) -> None:
        """Reserve that much. Raises ``Exhausted``, or what the ledger raises where it cannot be asked."""
        if self.take_now(amount):
            return
        self.used_at = monotonic()
        if amount > self.remaining and self.used_at - self._looked_at < KNOWN_SECONDS:
            raise Exhausted(self.allowance, amount, self.remaining)
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, mine))
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled() and mine.exception() is None:
                self.put_back(amount)
            raise

    async def grow(self, amount: int) -> None:
        """Reserve that much more for a request that has a part already."""
        await self.take(amount)
        self.reserved -= 1

    def put_back(self, amount: int) -> None:
        """A request ended that left so much of its part unused; below 0: it took more."""
        self.free += amount
        self.reserved -= 1
        self.used_at = monotonic()

    async def _ask(self) -> None:
        try:
            while self._serve():
                first = self._waiting[0][0] - self.free
                all_ = sum(amount for amount, _ in self._waiting) - self.free
                granted = await self._lend(self.allowance, first, max(all_, self.slice))
                self._looked_at = monotonic()
                self.free += granted.amount
                self._left = granted.left
                if not granted.amount:
                    amount, mine = self._waiting.popleft()
                    if not mine.done():
                        mine.set_exception(Exhausted(self.allowance, amount, self.remaining))
        except (SQLAlchemyError, OSError) as error:
            for _, mine in self._waiting:
                if not mine.done():
                    mine.set_exception(error)
            self._waiting.clear()
        finally:
            self._asking = None

    def _serve(self) -> bool:
        """Give to those who wait, in order; whether one of them needs more than there is."""
        while self._waiting:
            amount, mine = self._waiting[0]
            if mine.done():
                self._waiting.popleft()
                continue
            if amount > self.free:
                known = monotonic() - self._looked_at < KNOWN_SECONDS
                if not known or amount <= self.remaining:
                    return True
                mine.set_exception(Exhausted(self.allowance, amount, self.remaining))
            else:
                self.free -= amount
                self.reserved += 1
                mine.set_result(None)
            self._waiting.popleft()
        return False

    def changed(self, allowance: Allowance) -> None:
        """The allowance is another amount now: what was leased of a larger one goes back unused."""
        if allowance.most < self.allowance.most and self.free > 0:
            self._unwanted += self.free
            self.free = 0
        self.allowance = allowance
        self._looked_at = -KNOWN_SECONDS
        self._left = allowance.most

    @property
    def surplus(self) -> int:
        """What others may have: all of it where nobody has asked for a while."""
        if self._waiting:
            return 0
        if monotonic() - self.used_at >= IDLE_SECONDS or self.allowance.unit == "concurrent":
            return max(0, self.free)
        return max(0, self.free - self.slice)

    async def tidy(self) -> None:
        """Give back what is too much. Raises what the ledger raises."""
        surplus = self.surplus
        if not surplus and not self._unwanted:
            return
        # Before it is known to be given back: where the answer is lost, a part of the allowance is
        # used by nobody until this gateway ends, and not by two.
        self.free -= surplus
        returned, self._unwanted = surplus + self._unwanted, 0
        await self._give_back(self.allowance, returned)
        self._left += returned
