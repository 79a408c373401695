"""M3: do several gateways, each asked by many at once, spend a budget to its end and not beyond?

On one file; and with a shared database that goes away half-way: then what is leased may still be
spent, for half a minute, and after that nothing.
"""

import asyncio
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
from sqlalchemy import Engine

from e2e.faults.money import lives
from e2e.faults.money.lives import Gateways, a_key, clients
from e2e.faults.money.model import CountingModel
from preamar.ledger.budgets.standings import standings
from preamar.ledger.store import heartbeats
from preamar.ledger.store.backend import OneFile
from preamar.ledger.store.postgres import open_postgres, prepare
from tests.postgres import running

GATEWAYS, CALLERS = 4, 200
BUDGET = "6.00"
PICO = 10**12
OUTAGE_SECONDS = 45.0
MOST_IN_OUTAGE = Decimal("0.01")


class Spenders:
    """Callers who go on until they are refused for want of money."""

    def __init__(self, http: aiohttp.ClientSession, gateways: list[Gateways]) -> None:
        self._http, self._gateways = http, gateways
        self.codes: Counter[str] = Counter()
        self.paid = Decimal(0)
        self.stop = False

    async def spend(self, until: Decimal) -> None:
        """All callers at once, until so much is paid, or each was refused a few times in a row."""
        await asyncio.gather(*(self._caller(number, until) for number in range(CALLERS)))

    async def _caller(self, number: int, until: Decimal) -> None:
        refused = 0
        while refused < 3 and self.paid < until and not self.stop:
            gateway = self._gateways[number % len(self._gateways)]
            code, cost = await self._ask(gateway, number)
            self.codes[code] += 1
            self.paid += cost
            refused = refused + 1 if code == "insufficient_quota" else 0
            if code == "ledger_unavailable":
                await asyncio.sleep(0.5)

    async def _ask(self, gateway: Gateways, number: int) -> tuple[str, Decimal]:
        body = {"model": "gpt", "prompt": str(number + 1), "max_tokens": 4}
        url = f"http://127.0.0.1:{gateway.port}/v1/completions"
        async with self._http.post(url, json=body) as answer:
            told = await answer.json()
            if answer.status == 200:
                return "200", Decimal(told["usage"]["cost"])
            return str(told["error"]["code"]), Decimal(0)


async def spending(home: Path, *, shared: bool) -> dict[str, Any]:
    """One budget, several gateways."""
    began, problems = time.monotonic(), []
    name = "budget, shared database" if shared else "budget, one file"
    async with AsyncExitStack() as stack:
        model = await stack.enter_async_context(CountingModel())
        server = stack.enter_context(running()) if shared else None
        url_file = home / "url" if server else None
        if server is not None and url_file is not None:
            url = server.fresh("budget")
            url_file.write_text(url)
            engine: Engine = open_postgres(url)
            prepare(engine)
        one = home / "one"
        gateways = [
            Gateways(home / str(n), model.port, url_file=url_file, budget=BUDGET)
            for n in range(GATEWAYS)
        ]
        if server is not None:
            key, _ = lives.Keyring(engine, lives.PEPPER.encode()).create("acme", 1)
        else:
            (one / "ledger").mkdir(parents=True)
            key = a_key(one)
        for gateway in gateways:
            await gateway.begin(ledger=None if server else one / "ledger")
        http = await stack.enter_async_context(clients(key, keep=True))
        spenders, told = Spenders(http, gateways), {}
        if server is not None:
            told = await _outage(spenders, server, problems)
        await spenders.spend(Decimal(BUDGET))
        for gateway in gateways:
            gateway.stop()
            gateway.ended()
            gateway.close()
        if server is not None:
            heartbeats.recover(engine, "heir", 0)
            spent = _spent(engine)
            engine.dispose()
        else:
            spent = _of_file(one)
    problems += _wrong(spent, spenders)
    shutil.rmtree(home, ignore_errors=True)
    seconds = round(time.monotonic() - began, 1)
    print(
        f"{name}: {GATEWAYS} gateways, {CALLERS} at once, {sum(spenders.codes.values())} requests, "
        f"{spent} of {BUDGET} spent, {len(problems)} wrong, {seconds} s",
        flush=True,
    )
    for problem in problems:
        print(f"    {problem}", flush=True)
    return {
        "phase": name,
        "requests": sum(spenders.codes.values()),
        "budget": BUDGET,
        "spent": str(spent),
        "codes": dict(spenders.codes),
        "seconds": seconds,
        "problems": problems,
        **told,
    }


def _wrong(spent: Decimal, spenders: Spenders) -> list[str]:
    problems = []
    if spent > Decimal(BUDGET):
        problems.append(f"{spent} of {BUDGET} was spent")
    if spent != spenders.paid:
        problems.append(f"{spenders.paid} was answered for, and {spent} is in the ledger")
    if spent < Decimal(BUDGET) * Decimal("0.95"):
        problems.append(f"only {spent} of {BUDGET} could be spent: {dict(spenders.codes)}")
    return problems


async def _outage(spenders: Spenders, server: Any, problems: list[str]) -> dict[str, Any]:
    """The database dies when half is spent, and comes back."""
    await spenders.spend(Decimal(BUDGET) / 2)
    before, codes = spenders.paid, Counter(spenders.codes)
    server.kill()
    away = time.monotonic()
    task = asyncio.create_task(spenders.spend(Decimal(BUDGET)))
    await asyncio.sleep(OUTAGE_SECONDS - 5)
    late = Counter(spenders.codes)
    await asyncio.sleep(away + OUTAGE_SECONDS - time.monotonic())
    meanwhile = spenders.paid - before
    if spenders.codes["200"] != late["200"]:
        problems.append("requests were still answered when leases were no longer certain")
    if meanwhile > Decimal(BUDGET) * MOST_IN_OUTAGE * GATEWAYS:
        problems.append(f"{meanwhile} was spent while the database was away")
    spenders.stop = True
    await task
    spenders.stop = False
    server.start()
    await asyncio.sleep(8)
    return {
        "spentInOutage": str(meanwhile),
        "refusedInOutage": spenders.codes["ledger_unavailable"] - codes["ledger_unavailable"],
    }


def _of_file(one: Path) -> Decimal:
    home = OneFile(one / "ledger/ledger.sqlite", "heir", 400)
    home.start()
    try:
        return _spent(home.engine)
    finally:
        home.stop(10)


def _spent(engine: Engine) -> Decimal:
    found: Iterable[int] = (
        amount
        for (owner, _, period), amount in standings(
            engine, time.strftime("%Y-%m", time.gmtime())
        ).spent.items()
        if owner == "acme" and period != "prepaid"
    )
    return Decimal(sum(found)) / PICO


if __name__ == "__main__":
    for kind in (False, True):
        asyncio.run(spending(Path(tempfile.mkdtemp()), shared=kind))
