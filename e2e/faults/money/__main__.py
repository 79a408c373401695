"""``make faults-money``: kill gateways at their ledger's file operations, and see that nobody is
charged twice, too much, or not at all.

M1: a real gateway answers callers and is killed at the n-th file operation of its ledger (before it,
after it, or after half of a write), then the next one starts on what is there. M2: callers that leave
at a random token. M1 again with a PostgreSQL that is killed under two lives, and on a disk that is
full. M3: several gateways spend one budget, also while their database is away. M4: the rows of the
sweep make the same invoices in any order. SHARD=i/n does a part of the points, POINTS=n chooses how many there are. BUG=name
plants a bug, and the sweep must find it; BUG=all tries each.
"""

import argparse
import asyncio
import json
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
from sqlalchemy import Engine

from e2e.faults.money import lives, truth
from e2e.faults.money.budgets import spending
from e2e.faults.money.bugs import BUGS
from e2e.faults.money.invoices import again
from e2e.faults.money.lives import Gateways, Load, a_key, clients
from e2e.faults.money.model import CountingModel
from e2e.faults.results import Shard
from preamar.ledger.store import heartbeats
from preamar.ledger.store.backend import OneFile
from preamar.ledger.store.postgres import open_postgres, prepare
from preamar.ledger.tables.prices import PriceList
from preamar.ledger.tables.usage_record import State
from tests.postgres import running

OUT = Path(__file__).resolve().parents[3] / "build/faults-money.json"
PER_LIFE = 600
OPERATIONS = 2400
"""A life's first so many operations are points; where it makes fewer, it ends by a kill under load."""


class Sweep:
    """One phase: a home, a model, a load, and what came of it."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.random = random.Random(seed)
        self.home = Path(tempfile.mkdtemp(prefix="preamar-money-"))
        self.load = Load(seed)
        self.died: dict[int, float] = {}
        self.ends: Counter[str] = Counter()
        self.began = time.monotonic()

    def report(self, found: truth.Truth, **more: Any) -> dict[str, Any]:
        told = {
            "phase": self.name,
            "requests": len(self.load.seen),
            "answered": found.answered,
            "cut": found.cut,
            "mostTokensUnder": found.under,
            "ends": dict(self.ends),
            "seconds": round(time.monotonic() - self.began, 1),
            "problems": found.problems[:20],
            **more,
        }
        print(
            f"{self.name}: {told['requests']} requests, {found.answered} answered, {found.cut} cut, "
            f"{len(found.problems)} wrong, at most {found.under} tokens under, {told['seconds']} s",
            flush=True,
        )
        for problem in found.problems[:5]:
            print(f"    {problem}", flush=True)
        shutil.rmtree(self.home, ignore_errors=True)
        return told


async def a_life(
    sweep: Sweep,
    gateways: Gateways,
    http: aiohttp.ClientSession,
    at: int,
    side: int,
    meanwhile: Callable[[], None] | None = None,
) -> None:
    """Load until the kill; where the operation is not reached, a kill at the end of the load.
    ``meanwhile`` is called a moment after the load began."""
    since = len(sweep.load.seen)
    served = await gateways.begin(at, side)
    if served:
        loading = asyncio.create_task(sweep.load.run(http, gateways, PER_LIFE))
        soon = sweep.random.uniform(0.05, 0.6)
        timer = asyncio.get_running_loop().call_later(soon, meanwhile) if meanwhile else None
        while not loading.done() and gateways.alive:
            await asyncio.wait({loading}, timeout=0.01)
        reached = not gateways.alive
        at_once = time.monotonic()
        gateways.kill()
        await loading
        if timer is not None:
            timer.cancel()
    else:
        reached, at_once = True, time.monotonic()
    gateways.ended()
    sweep.died |= sweep.load.died(since, at_once)
    sweep.ends[f"{'at an operation' if reached else 'under load'}"] += 1
    if not served:
        sweep.ends["before it served"] += 1


async def kills(shard: Shard, points: int, bug: str = "") -> dict[str, Any]:
    """M1 on one file."""
    sweep = Sweep(f"killed, with {bug}" if bug else "killed", seed=shard.index)
    mine = range(shard.index - 1, points, shard.of)
    async with CountingModel() as model:
        gateways = Gateways(sweep.home, model.port, bug=bug)
        async with clients(a_key(sweep.home)) as http:
            for done, point in enumerate(mine):
                at = 1 + point * 7919 % OPERATIONS
                await a_life(sweep, gateways, http, at, point % 3)
                if done % 50 == 49:
                    print(
                        f"  {done + 1} of {len(mine)} lives, {len(sweep.load.seen)} requests",
                        flush=True,
                    )
        gateways.close()
        found = _settled(sweep, sweep.home / "ledger", model)
        rows, problems = again(sweep.home / "ledger/ledger.sqlite", sweep.home, sweep.random)
        found.problems += problems
        return sweep.report(found, points=len(mine), invoicedAgain=rows)


def _settled(sweep: Sweep, folder: Path, model: CountingModel) -> truth.Truth:
    """What the ledger says once the next gateway has started on it."""
    dead = _with_open_streams(folder / "ledger.sqlite")
    home = OneFile(folder / "ledger.sqlite", "heir", 400)
    home.start()
    try:
        found = _checked(home.engine, sweep, model)
    finally:
        home.stop(10)
    # Each gateway settles what those before it left; only the last one's own may be open.
    if dead > 1:
        found.problems.append(f"{dead} gateways that died have left streams open")
    return found


def _with_open_streams(file: Path) -> int:
    """How many gateways have streams in the ledger that nobody has settled."""
    with closing(sqlite3.connect(file)) as ledger:
        asked = "SELECT COUNT(DISTINCT instance) FROM requests WHERE state = ?"
        return int(ledger.execute(asked, (State.OPEN,)).fetchone()[0])


def _checked(engine: Engine, sweep: Sweep, model: CountingModel) -> truth.Truth:
    return truth.check(engine, sweep.load.seen, model.made, sweep.died, PriceList.of(lives.PRICE))


async def leavers(most: int) -> dict[str, Any]:
    """M2: a third of all streams is left at a random token; nobody dies."""
    sweep = Sweep("left", seed=1)
    async with CountingModel() as model:
        gateways = Gateways(sweep.home, model.port)
        async with clients(a_key(sweep.home)) as http:
            await gateways.begin()
            await sweep.load.run(http, gateways, most)
            await asyncio.sleep(1.5)
            gateways.stop()
        gateways.ended()
        gateways.close()
        left = [each for each in sweep.load.seen if each.streamed and not each.whole and each.at]
        waits = [max(0.0, model.left[each.number] - each.at[-1]) for each in left]
        found = _settled(sweep, sweep.home / "ledger", model)
        if model.running.total():
            found.problems.append(f"{model.running.total()} requests still run in the model")
        if late := sum(wait > 1.0 for wait in waits):
            found.problems.append(f"{late} requests ran on for more than a second")
        return sweep.report(
            found, left=len(left), longestCancelSeconds=round(max(waits, default=0.0), 3)
        )


async def database(rounds: int) -> dict[str, Any]:
    """M1 with PostgreSQL: it and the gateway are killed in turn, under load."""
    sweep = Sweep("database", seed=2)
    with running() as server:
        url = server.fresh("ledger")
        url_file = sweep.home / "url"
        url_file.write_text(url)
        engine = open_postgres(url)
        prepare(engine)
        async with CountingModel() as model:
            gateways = Gateways(sweep.home, model.port, url_file=url_file)
            key, _ = lives.Keyring(engine, lives.PEPPER.encode()).create("acme", 1)
            async with clients(key) as http:
                for number in range(rounds):
                    at = 1 + number * 7919 % OPERATIONS
                    await a_life(sweep, gateways, http, at, number % 3, server.kill)
                    if not server.alive:
                        sweep.ends["database killed"] += 1
                        server.start()
                await gateways.begin()
                await asyncio.sleep(3)
                gateways.stop()
                gateways.ended()
            gateways.close()
            with engine.begin() as connection:
                # What would be so after a minute.
                connection.exec_driver_sql("UPDATE gateways SET seen = 0")
            heartbeats.recover(engine, "heir")
            found = _checked(engine, sweep, model)
        engine.dispose()
        return sweep.report(found, rounds=rounds)


def full_disk() -> dict[str, Any]:
    """M1 on a disk of a few megabytes: refused while it is full, and nothing that was answered is
    missing."""
    sweep = Sweep("full disk", seed=3)
    small = sweep.home / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", small], check=True)
    try:
        return asyncio.run(_on(sweep, small))
    finally:
        subprocess.run(["umount", "-l", small], check=True)


async def _on(sweep: Sweep, small: Path) -> dict[str, Any]:
    async with CountingModel() as model:
        gateways = Gateways(sweep.home, model.port)
        (sweep.home / "ledger").rmdir()
        (sweep.home / "ledger").symlink_to(small)
        async with clients(a_key(sweep.home)) as http:
            await gateways.begin()
            await sweep.load.run(http, gateways, 200)
            filler = small / "filler"
            with filler.open("wb") as file:
                try:
                    while file.write(b"x" * 65536):
                        file.flush()
                except OSError:
                    pass
            since = len(sweep.load.seen)
            await sweep.load.run(http, gateways, 400)
            refused = sum(each.status == 503 for each in sweep.load.seen[since:])
            filler.unlink()
            await asyncio.sleep(2)
            since = len(sweep.load.seen)
            await sweep.load.run(http, gateways, 200)
            again = sum(each.status == 200 for each in sweep.load.seen[since:])
            gateways.stop()
        gateways.ended()
        gateways.close()
        found = _settled(sweep, sweep.home / "ledger", model)
        if not refused or again < 190:
            found.problems.append(f"{refused} were refused while full, {again} served after it")
        return sweep.report(found, refusedWhileFull=refused)


def _teeth(bugs: list[str]) -> int:
    """Each bug must be found within some lives; 1 if one is not."""
    missed = [bug for bug in bugs if not asyncio.run(kills(Shard(1, 1), 12, bug))["problems"]]
    print(
        f"{len(bugs) - len(missed)} of {len(bugs)} bugs found; missed: {', '.join(missed) or 'none'}"
    )
    return 1 if missed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shard", default="1/1")
    parser.add_argument("--points", type=int, default=520)
    parser.add_argument("--phases", default="kill,leave,database,disk,budget")
    parser.add_argument("--bug", default="", choices=["", "all", *BUGS])
    given = parser.parse_args()
    if given.bug:
        return _teeth([*BUGS] if given.bug == "all" else [given.bug])
    shard = Shard.parse(given.shard)
    phases = given.phases.split(",")
    told = []
    if "kill" in phases:
        told.append(asyncio.run(kills(shard, given.points)))
    if "leave" in phases:
        told.append(asyncio.run(leavers(3000)))
    if "database" in phases:
        told.append(asyncio.run(database(30)))
    if "disk" in phases:
        told.append(full_disk())
    if "budget" in phases:
        told += [asyncio.run(spending(Path(tempfile.mkdtemp()), shared=s)) for s in (False, True)]
    wrong = sum(len(each["problems"]) for each in told)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps({"shard": str(shard), "phases": told}, indent=1) + "\n")
    print(f"{sum(each['requests'] for each in told)} requests, {wrong} problems")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
