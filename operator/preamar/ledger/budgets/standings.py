"""How does every tenant stand: what was spent, and what is leased to gateways? One look at all."""

from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import Engine, func, select

from preamar.ledger.budgets.leases import PREPAID
from preamar.ledger.tables.amounts import whole
from preamar.ledger.tables.schema import balances, leases

Place = tuple[str, str, str]
"""Owner, unit and period."""


class Standings(NamedTuple):
    """In pico-units by owner, unit and period: the month that was asked for, and ``prepaid`` for
    all months together."""

    spent: Mapping[Place, int]
    leased: Mapping[Place, int]

    def units(self, owner: str) -> list[str]:
        """Currencies that the owner has spent this month, the most first."""
        found = [
            (amount, unit)
            for (whose, unit, period), amount in self.spent.items()
            if whose == owner and period != PREPAID
        ]
        return [unit for _, unit in sorted(found, key=lambda each: (-each[0], each[1]))]


def standings(engine: Engine, month: str) -> Standings:
    """Of all tenants; ``month`` is like 2026-11. Raises what the database raises."""
    c, held = balances.c, leases.c
    sums = func.sum(c.billions).label("billions"), func.sum(c.rest).label("rest")
    tenants = c.owner.not_like("key/%") & (c.period != "")
    parts = func.sum(held.billions).label("billions"), func.sum(held.rest).label("rest")
    by = (held.owner, held.unit, held.period)
    with engine.connect() as connection:
        this = select(c.owner, c.unit, *sums).where(tenants, c.period == month)
        ever = select(c.owner, c.unit, *sums).where(tenants)
        spent = {
            (row.owner, row.unit, period): whole(row)
            for statement, period in ((this, month), (ever, PREPAID))
            for row in connection.execute(statement.group_by(c.owner, c.unit))
        }
        leased = {
            (row.owner, row.unit, row.period): max(0, whole(row))
            for row in connection.execute(
                select(*by, *parts)
                .where(held.owner.not_like("key/%"), held.period.in_([month, PREPAID]))
                .group_by(*by)
            )
        }
    return Standings(spent, leased)
