"""What the operator is told of money: how tenants stand, and where the ledger and the model servers
disagree. What changed is told a few times a minute, and everything once a minute, since an operator
that has begun anew knows nothing.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

import aiohttp
from sqlalchemy.exc import SQLAlchemyError

from preamar.gateway.limits.limits import UsageLimits
from preamar.ledger.budgets.balances import tenant_owner
from preamar.ledger.budgets.leases import PREPAID
from preamar.ledger.budgets.standings import Standings, standings
from preamar.ledger.store.backend import Backend
from preamar.ledger.tables.prices import decimal
from preamar.protocol.accounts import Account, AccountReport, Drift, encode

log = logging.getLogger(__name__)
EVERY_SECONDS, ALL_SECONDS = 15.0, 60.0
PUSH_SECONDS = 5.0
MOST_AT_ONCE = 5000
Addresses = Callable[[], tuple[tuple[str, int], ...]]


def account_of(tenant: str, terms: UsageLimits, found: Standings, month: str) -> Account:
    """How one tenant stands. Without a budget it is told what it has spent this month, of several
    currencies the one it has spent the most of."""
    owner = tenant_owner(tenant)
    period = PREPAID if terms.prepaid and terms.budget is not None else month
    unit = terms.currency
    if terms.budget is None:
        unit = next(iter(found.units(owner)), unit)
    spent = found.spent.get((owner, unit, period), 0)
    reserved = found.leased.get((owner, unit, period), 0)
    if terms.budget is None:
        return Account(unit, period, decimal(spent))
    left = max(0, terms.budget - spent - reserved)
    return Account(unit, period, decimal(spent), decimal(reserved), decimal(left))


class Accounts:
    """Tells every replica of the operator. ``drifts`` are by service (``namespace/name``)."""

    def __init__(
        self,
        gateway: str,
        key: bytes,
        home: Backend,
        tenants: Callable[[], Mapping[str, UsageLimits]],
        drifts: Callable[[], Mapping[str, Drift]],
        addresses: Addresses,
    ) -> None:
        self._gateway = gateway
        self._headers = {"Authorization": f"Bearer {key.decode('latin-1')}"}
        self._home = home
        self._tenants = tenants
        self._drifts = drifts
        self._addresses = addresses
        self._told: Mapping[tuple[str, str], Account | Drift] = {}
        self._told_all = -ALL_SECONDS

    async def run(self) -> None:
        """Tell until cancelled."""
        while True:
            await self.tell()
            await asyncio.sleep(EVERY_SECONDS)

    async def tell(self) -> None:
        """What has changed, or everything if that was not told for a while."""
        now = asyncio.get_running_loop().time()
        try:
            accounts = await self._accounts()
        except SQLAlchemyError as error:
            log.warning("balances cannot be read: %s", getattr(error, "orig", error))
            return
        entries: dict[tuple[str, str], Account | Drift]
        entries = {("tenants", name): account for name, account in accounts.items()}
        entries |= {("services", name): drift for name, drift in self._drifts().items()}
        whole = now - self._told_all >= ALL_SECONDS
        news = {
            key: entry for key, entry in entries.items() if whole or self._told.get(key) != entry
        }
        if news and await self._push(news.items()):
            self._told = entries
            if whole:
                self._told_all = now

    async def _accounts(self) -> dict[str, Account]:
        tenants = self._tenants()
        if not tenants or not self._home.reachable:
            return {}
        month = f"{datetime.now(UTC):%Y-%m}"
        found = await asyncio.to_thread(standings, self._home.engine, month)
        return {name: account_of(name, terms, found, month) for name, terms in tenants.items()}

    async def _push(self, news: Iterable[tuple[tuple[str, str], Account | Drift]]) -> bool:
        """Whether every replica of the operator has heard it."""
        addresses, entries = self._addresses(), list(news)
        limits = aiohttp.ClientTimeout(total=PUSH_SECONDS)
        heard = bool(addresses)
        async with aiohttp.ClientSession(
            timeout=limits, headers=self._headers, trust_env=False
        ) as session:
            for at in range(0, len(entries), MOST_AT_ONCE):
                part = entries[at : at + MOST_AT_ONCE]
                report = AccountReport(
                    {name: one for (_, name), one in part if isinstance(one, Account)},
                    {name: one for (_, name), one in part if isinstance(one, Drift)},
                )
                sent = json.dumps(encode(self._gateway, report)).encode()
                answers = await asyncio.gather(*(_post(session, to, sent) for to in addresses))
                heard = heard and all(answers)
        return heard


async def _post(session: aiohttp.ClientSession, to: tuple[str, int], body: bytes) -> bool:
    ip, port = to
    url = f"http://{f'[{ip}]' if ':' in ip else ip}:{port}/accounts"
    try:
        async with session.post(
            url, data=body, headers={"Content-Type": "application/json"}
        ) as answer:
            return answer.status < 300
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        log.debug("the operator at %s was not told of accounts: %s", ip, error)
        return False
