"""May this request run, and what becomes of what was set aside for it?

Before a request is sent anywhere, the most that it can cost is reserved in the leases of its tenant
and of its key, with its part of their rates. When its end is in the ledger, the rest goes back.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import monotonic, time
from typing import NamedTuple, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from preamar.gateway.errors import Problem, ledger_down
from preamar.gateway.limits.limits import (
    CONCURRENT,
    FREE,
    RATES,
    REQUESTS,
    TOKENS,
    UsageLimits,
    minute_of,
)
from preamar.gateway.limits.quota_lease import Exhausted, QuotaLease
from preamar.gateway.limits.refusals import other_currency, refused, shown
from preamar.gateway.settings import UNBOUNDED_TOKENS
from preamar.ledger.budgets import leases
from preamar.ledger.budgets.balances import key_owner, tenant_owner
from preamar.ledger.budgets.leases import Allowance, Granted
from preamar.ledger.store.backend import Backend
from preamar.ledger.tables.prices import PriceList

log = logging.getLogger(__name__)
T = TypeVar("T")
TIDY_SECONDS = 1.0
LEND_SECONDS = 5.0
MOST_KEYS = 10_000
BYTES_PER_TOKEN = 4
"""Of English text, on average."""


class Most(NamedTuple):
    """What a request uses at most: tokens, and thousandths of an accelerator for a second."""

    input: int
    output: int = 0
    accelerator_ms: int = 0


class Reservation:
    """What is set aside for one request."""

    __slots__ = ("_accelerator_ms", "_held", "price")

    def __init__(self, price: PriceList, accelerator_ms: int = 0) -> None:
        self.price = price
        self._accelerator_ms = accelerator_ms
        self._held: list[tuple[QuotaLease, int]] = []

    @property
    def leases(self) -> tuple[tuple[str, str], ...]:
        """Owner and period of each lease that the request's cost comes out of."""
        return tuple(
            (lease.allowance.owner, lease.allowance.period)
            for lease, _ in self._held
            if lease.allowance.unit not in RATES
        )

    @property
    def bounded(self) -> bool:
        """Whether it matters what the request costs at most."""
        return any(lease.allowance.unit not in RATES for lease, _ in self._held)

    def hold(self, lease: QuotaLease, amount: int) -> None:
        self._held.append((lease, amount))

    async def cover(self, input_tokens: int, output_tokens: int) -> None:
        """Reserve more where so many tokens cost more than what is reserved. Raises ``Problem``."""
        cost = self.price.cost(input_tokens, output_tokens, accelerator_ms=self._accelerator_ms)
        for at, (lease, amount) in enumerate(self._held):
            if lease.allowance.unit not in RATES and cost > amount:
                await _taken(lease.grow(cost - amount))
                self._held[at] = (lease, cost)

    def headers(self) -> dict[str, str]:
        """What is left of the rates."""
        return shown(
            (lease.allowance, lease.remaining)
            for lease, _ in self._held
            if lease.allowance.unit in {REQUESTS, TOKENS}
        )

    def end(self, cost: int, tokens: int) -> None:
        """The request has cost that, in pico-units. A second time does nothing."""
        for lease, amount in self._held:
            used = {REQUESTS: amount, TOKENS: tokens, CONCURRENT: 0}
            lease.put_back(amount - used.get(lease.allowance.unit, cost))
        self._held.clear()

    def undo(self) -> None:
        """The request was never sent: as if it had not come."""
        for lease, amount in self._held:
            lease.put_back(amount)
        self._held.clear()


async def _taken(taking: Awaitable[None]) -> None:
    """Raises ``Problem``; one with status 503 where the ledger cannot be asked."""
    try:
        async with asyncio.timeout(LEND_SECONDS):
            await taking
    except Exhausted as exhausted:
        raise refused(exhausted) from None
    except (SQLAlchemyError, TimeoutError):
        raise ledger_down() from None


def _same_currency(unit: str, price: PriceList) -> None:
    if unit != price.currency:
        raise other_currency(unit, price.currency)


class Reservations:
    """All leases of one gateway."""

    def __init__(self, home: Backend, instance: str) -> None:
        self._home = home
        self._engine = home.engine
        self._instance = instance
        self._tenants: Mapping[str, UsageLimits] = {}
        self._leases: dict[tuple[str, str, str], QuotaLease] = {}
        self._minutes: dict[str, tuple[UsageLimits, UsageLimits, int, tuple[Allowance, ...]]] = {}
        # One thread: leases are granted one after the other anyhow.
        self._thread = ThreadPoolExecutor(1, "ledger-lender")

    def know(self, tenants: Mapping[str, UsageLimits]) -> None:
        """What the Tenant resources say."""
        self._tenants = tenants

    @property
    def tenants(self) -> Mapping[str, UsageLimits]:
        """Of all tenants that have a resource."""
        return self._tenants

    def limits(self, tenant: str) -> UsageLimits:
        """Of a tenant; one without a resource has no limits."""
        return self._tenants.get(tenant, FREE)

    async def admit(
        self, tenant: str, key_id: str, key: UsageLimits, price: PriceList, most: Most
    ) -> Reservation:
        """Set aside what a request may use at most; of the rate of tokens, which only slows callers
        down, what is likely. Raises ``Problem``; then nothing is set aside."""
        reservation = Reservation(price, most.accelerator_ms)
        limits = self.limits(tenant)
        if limits is FREE and key is FREE:
            return reservation
        now = time()
        cost = price.cost(most.input, most.output, accelerator_ms=most.accelerator_ms)
        allowances = self._of_both(limits, tenant, key, key_id, int(now // 60))
        likely = most.input // BYTES_PER_TOKEN + min(most.output, UNBOUNDED_TOKENS)
        amounts = {CONCURRENT: 1, REQUESTS: 1, TOKENS: likely}
        try:
            for allowance in allowances:
                if allowance.unit not in RATES:
                    if price.free:
                        continue
                    _same_currency(allowance.unit, price)
                amount = amounts.get(allowance.unit, cost)
                if (lease := await self._take(allowance, amount)) is not None:
                    reservation.hold(lease, amount)
        except BaseException:
            reservation.undo()
            raise
        return reservation

    def _of_both(
        self, limits: UsageLimits, tenant: str, key: UsageLimits, key_id: str, minute: int
    ) -> tuple[Allowance, ...]:
        """What a tenant and its key have in a minute, since 1970. Kept for each key: it is the same
        for all requests of the minute, and putting it together is a part of their cost."""
        known = self._minutes.get(key_id)
        if known is not None and known[0] is limits and known[1] is key and known[2] == minute:
            return known[3]
        now = minute * 60.0
        found = (
            *limits.allowances(tenant_owner(tenant), now),
            *key.allowances(key_owner(key_id), now),
        )
        if len(self._minutes) >= MOST_KEYS:
            self._minutes.clear()
        self._minutes[key_id] = (limits, key, minute, found)
        return found

    async def _take(self, allowance: Allowance, amount: int) -> QuotaLease | None:
        """The lease that so much was taken from. None where it is a rate and the ledger cannot be
        asked: money must not be spent twice, but nobody has to stand still for want of a count."""
        if not self._home.fresh:
            # What was leased may be somebody else's by now.
            if allowance.unit in RATES:
                return None
            raise ledger_down()
        lease = self._lease(allowance)
        if lease.take_now(amount):
            return lease
        try:
            if not self._home.reachable:
                raise ledger_down()
            await _taken(lease.take(amount))
        except Problem as problem:
            if problem.status != 503 or allowance.unit not in RATES:
                raise
            return None
        return lease

    def _lease(self, allowance: Allowance) -> QuotaLease:
        key = (allowance.owner, allowance.unit, allowance.period)
        lease = self._leases.get(key)
        if lease is None:
            lease = self._leases[key] = QuotaLease(allowance, self._lend, self._give_back)
        elif lease.allowance.most != allowance.most:
            lease.changed(allowance)
        return lease

    async def _lend(self, allowance: Allowance, needed: int, wanted: int) -> Granted:
        return await self._asked(
            partial(leases.grant, self._engine, allowance, self._instance, needed, wanted)
        )

    async def _give_back(self, allowance: Allowance, amount: int) -> None:
        await self._asked(
            partial(leases.give_back, self._engine, allowance, self._instance, amount)
        )

    async def _asked(self, ask: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, ask)

    async def run(self) -> None:
        """Give back what is too much, and forget leases of times gone by, until cancelled."""
        while True:
            await asyncio.sleep(TIDY_SECONDS)
            if self._home.fresh and self._home.reachable:
                await self._tidy()

    async def _tidy(self) -> None:
        for key, lease in list(self._leases.items()):
            unit = lease.allowance.unit
            over = lease.allowance.period < minute_of(time())
            if unit in {REQUESTS, TOKENS}:
                # What was leased of a minute ends with it.
                if over and not lease.reserved:
                    del self._leases[key]
                continue
            try:
                await lease.tidy()
            except SQLAlchemyError as error:
                log.warning("a lease could not be given back: %s", getattr(error, "orig", error))
            idle = monotonic() - lease.used_at > 60
            if idle and not lease.reserved and not lease.free and key in self._leases:
                del self._leases[key]

    def forget(self) -> None:
        """Others took this gateway for dead: what it had leased is theirs. Requests that run still
        settle what they cost."""
        self._leases = {}

    def close(self) -> None:
        """Nothing is leased any more."""
        self._thread.shutdown()
