"""How much may a gateway let its callers use without asking anybody? What it has leased.

What was spent and what is leased are together never more than the allowance, whatever number of
gateways take part: a lease is granted in one transaction that sees both. Settling a request moves
its cost from the lease to what was spent. A gateway gives back what it does not need; the leases of
one that died end with it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, Engine, Table, delete, literal, select, union_all

from preamar.ledger.tables.amounts import added, halves, whole
from preamar.ledger.tables.dialect import insert
from preamar.ledger.tables.schema import balances, leases

PREPAID = "prepaid"
"""The period of what is granted once and never anew."""
SHARE = 4
"""A lease beyond what is needed takes at most this part of what is left, so that others get some."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """``most`` of a unit (a currency, in pico-units; ``requests``; ``tokens``; ``concurrent``) that
    an owner may use in a period (a month, a minute, ``prepaid``, or "" for at any time)."""

    owner: str
    unit: str
    period: str
    most: int


class Granted(NamedTuple):
    """``amount`` is 0 where what was needed did not fit; ``left`` is there for anybody after it."""

    amount: int
    left: int


def grant(
    engine: Engine, allowance: Allowance, instance: str, needed: int, wanted: int = 0
) -> Granted:
    """Lease ``needed`` or nothing, up to ``wanted`` where there is plenty."""
    with engine.begin() as connection:
        _lock(connection, allowance)
        left = allowance.most - taken(connection, allowance)
        if needed > left:
            return Granted(0, max(0, left))
        amount = max(needed, min(wanted, left // SHARE))
        _add(connection, allowance, instance, amount)
        return Granted(amount, left - amount)


def give_back(engine: Engine, allowance: Allowance, instance: str, amount: int) -> None:
    """Return a part of a lease that is neither spent nor reserved."""
    with engine.begin() as connection:
        _lock(connection, allowance)
        _add(connection, allowance, instance, -amount)


def taken(connection: Connection, allowance: Allowance) -> int:
    """What was spent and what is leased, as one moment sees both."""
    return sum(_standing(connection, allowance))


def standing(engine: Engine, allowance: Allowance) -> tuple[int, int]:
    """What was spent, and what is leased."""
    with engine.connect() as connection:
        return _standing(connection, allowance)


def _standing(connection: Connection, allowance: Allowance) -> tuple[int, int]:
    spent = select(balances.c.billions, balances.c.rest, literal(0).label("leased")).where(
        balances.c.owner == allowance.owner, balances.c.unit == allowance.unit
    )
    if allowance.period != PREPAID:
        spent = spent.where(balances.c.period == allowance.period)
    held = select(leases.c.billions, leases.c.rest, literal(1).label("leased")).where(
        leases.c.owner == allowance.owner,
        leases.c.unit == allowance.unit,
        leases.c.period == allowance.period,
    )
    sums = [0, 0]
    for row in connection.execute(union_all(spent, held)):
        # A lease below zero was overspent, and what was spent of it is counted already.
        sums[row.leased] += max(0, whole(row)) if row.leased else whole(row)
    return sums[0], sums[1]


def forget(connection: Connection, instances: Iterable[str]) -> None:
    """End all leases of gateways that are gone."""
    connection.execute(delete(leases).where(leases.c.instance.in_(list(instances))))


def end(engine: Engine, instance: str) -> None:
    """A gateway leaves, with nothing reserved any more."""
    with engine.begin() as connection:
        forget(connection, [instance])


def _lock(connection: Connection, allowance: Allowance) -> None:
    """One grant of an owner's unit at a time. The row is written before anything is read: a lock
    that came later would guard a decision that was already made. What ended with an earlier minute
    is removed while we are here."""
    key = {"owner": allowance.owner, "unit": allowance.unit, "period": ""}
    _upsert(connection, balances, key, 0)
    if allowance.unit in {"requests", "tokens"}:
        connection.execute(
            delete(leases).where(
                leases.c.owner == allowance.owner,
                leases.c.unit == allowance.unit,
                leases.c.period < allowance.period,
            )
        )


def _add(connection: Connection, allowance: Allowance, instance: str, amount: int) -> None:
    key = {
        "owner": allowance.owner,
        "unit": allowance.unit,
        "period": allowance.period,
        "instance": instance,
    }
    _upsert(connection, leases, key, amount)


def _upsert(connection: Connection, table: Table, key: dict[str, str], amount: int) -> None:
    statement = insert(connection, table).values(**key, **halves(amount))
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=list(key), set_=added(table, statement.excluded)
        )
    )
