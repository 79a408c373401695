"""Bugs to plant in a gateway: each must be found, or the sweep has no teeth."""

import asyncio
from collections.abc import Callable

from preamar.gateway.metering import call
from preamar.ledger.budgets import balances
from preamar.ledger.store import sqlite


def answer_first() -> None:
    """Callers get their answer before the ledger has it."""

    async def settle(self: call.Call, status: int) -> None:
        self.settle_soon(status)
        await asyncio.sleep(0)

    call.Call.settle = settle  # type: ignore[method-assign]


def no_marks() -> None:
    """Nothing is noted of a stream until its end."""
    call.Call.mark = lambda _self: None  # type: ignore[method-assign]


def marks_run_ahead() -> None:
    """A mark says more than was made."""
    inner = call.Call.mark

    def mark(self: call.Call) -> None:
        made = self.output_tokens
        self.output_tokens = made + 50
        inner(self)
        self.output_tokens = made

    call.Call.mark = mark  # type: ignore[method-assign]


def dead_are_forgotten() -> None:
    """What a dead gateway left open stays open."""
    sqlite.close_instance = lambda _engine, _instance: 0


def money_without_rows() -> None:
    """A mark costs as if it were an end."""
    inner = sqlite.write

    def write(engine, rows, *, spool=False):  # type: ignore[no-untyped-def]
        rows = list(rows)
        inner(engine, rows, spool=spool)
        with engine.begin() as connection:
            balances.add(connection, [row for row in rows if row.state == "open"])

    sqlite.write = write


BUGS: dict[str, Callable[[], None]] = {
    bug.__name__.replace("_", "-"): bug
    for bug in (answer_first, no_marks, marks_run_ahead, dead_are_forgotten, money_without_rows)
}
