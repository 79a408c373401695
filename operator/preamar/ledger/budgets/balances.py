"""What was spent, by tenant and by key, in each currency and month: a running sum of settled rows.

It changes in the transaction that settles the rows and nowhere else, so it is at any time what an
invoice over the same rows comes to (tests/ledger/test_balances.py).
"""

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime

from sqlalchemy import Connection, Update, bindparam

from preamar.ledger.tables.amounts import added, halves
from preamar.ledger.tables.dialect import Insert, insert
from preamar.ledger.tables.prepared import PreparedStatement, cursor_of
from preamar.ledger.tables.schema import balances, leases
from preamar.ledger.tables.usage_record import UsageRecord


def tenant_owner(tenant: str) -> str:
    """A tenant as the owner of a balance."""
    return tenant


def key_owner(key_id: str) -> str:
    """A key as the owner of a balance; no tenant's name has a slash."""
    return f"key/{key_id}"


def month_of(milliseconds: int) -> str:
    """The month, UTC, of a time since 1970: 2026-11."""
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m}"


def add(connection: Connection, settled: Iterable[UsageRecord]) -> None:
    """Add rows that were settled in this transaction, and take what they cost from the leases that
    it was reserved in. In a fixed order: two gateways never wait for each other."""
    spent: Counter[tuple[str, str, str]] = Counter()
    used: Counter[tuple[str, str, str, str]] = Counter()
    for row in settled:
        if cost := row.cost:
            currency = row.price.currency
            for owner in (tenant_owner(row.tenant), key_owner(row.key_id)):
                spent[owner, currency, month_of(row.started)] += cost
            for owner, period in row.reserved:
                used[owner, currency, period, row.instance] += cost
    with cursor_of(connection) as cursor:
        for (owner, unit, period), cost in sorted(spent.items()):
            key = {"owner": owner, "unit": unit, "period": period}
            _SPENT.run(connection, cursor, key | halves(cost))
        for (owner, unit, period, instance), cost in sorted(used.items()):
            key = {"of": owner, "in": unit, "at": period, "by": instance}
            _USED.run(connection, cursor, key | halves(-cost))


def _more(connection: Connection) -> Insert:
    statement = insert(connection, balances)
    return statement.on_conflict_do_update(
        index_elements=["owner", "unit", "period"], set_=added(balances, statement.excluded)
    )


def _less(_connection: Connection) -> Update:
    return (
        leases.update()
        .where(
            leases.c.owner == bindparam("of"),
            leases.c.unit == bindparam("in"),
            leases.c.period == bindparam("at"),
            leases.c.instance == bindparam("by"),
        )
        .values(added(leases, {name: bindparam(name) for name in ("billions", "rest")}))
    )


_SPENT, _USED = PreparedStatement(_more), PreparedStatement(_less)
