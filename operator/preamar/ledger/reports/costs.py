"""What each tenant owes, in days: counts of the request rows times the prices they were asked at.

Nothing is stored that could drift: the same rows give the same money at any time. Everything is
exact in pico-units until it becomes a number of JSON; ``decimal`` beside that number stays exact.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import Engine

from preamar.ledger.reports import priced, usage
from preamar.ledger.reports.usage import Query
from preamar.ledger.tables.prices import decimal
from preamar.ledger.tables.schema import requests

GROUPS = ("project_id", "api_key_id", "line_item")
MOST: Mapping[str, int] = {"1d": 180}


class CostLine(NamedTuple):
    """What one group owes in one bucket; a group that was not asked for is None. ``pico``: money in
    1e-12 of the currency; ``quantity``: tokens or requests, None where line items are not apart."""

    bucket: int
    tenant: str | None
    key_id: str | None
    item: str | None
    currency: str
    pico: int
    quantity: int | None


def query_of(given: Mapping[str, list[str]], now: int) -> Query:
    """A query from URL parameters. Raises ``usage.BadQuery``."""
    return usage.query_of(None, given, now, GROUPS, MOST)


def lines(engine: Engine, query: Query, items: tuple[str, ...] = ()) -> list[CostLine]:
    """What is owed, by bucket and group. ``items``: only these line items."""
    shown, _ = usage.buckets(query)
    if not shown:
        return []
    row = requests.c
    start, end = shown[0][0] * 1000, shown[-1][1] * 1000
    columns = (usage.bucket(query), row.tenant, row.key_id, row.model)
    statement = priced.statement(start, end, *columns)
    if query.projects:
        statement = statement.where(row.tenant.in_(query.projects))
    if query.keys:
        statement = statement.where(row.key_id.in_(query.keys))
    money: Counter[tuple[Any, ...]] = Counter()
    amounts: Counter[tuple[Any, ...]] = Counter()
    with engine.connect() as connection:
        for found in connection.execute(statement):
            for part in priced.parts(found):
                item = f"{found.model}, {part.kind}"
                if items and item not in items:
                    continue
                group = (
                    found.bucket // 1000,
                    found.tenant if "project_id" in query.groups else None,
                    found.key_id if "api_key_id" in query.groups else None,
                    item if "line_item" in query.groups else None,
                    found.currency,
                )
                money[group] += part.pico
                amounts[group] += part.quantity
    apart = "line_item" in query.groups
    return [
        CostLine(at, tenant, key, item, currency, pico, amounts[group] if apart else None)
        for group, pico in money.items()
        for at, tenant, key, item, currency in (group,)
    ]


def report(query: Query, owed: list[CostLine]) -> dict[str, Any]:
    """One page in the shape of OpenAI's organization costs. Empty buckets have no results."""
    ordered = sorted(owed, key=lambda line: tuple(str(each or "") for each in line[1:5]))
    return usage.page(query, ordered, _result)


def _result(line: CostLine) -> dict[str, Any]:
    exact = decimal(line.pico)
    return {
        "object": "organization.costs.result",
        "amount": {"value": float(exact), "currency": line.currency.lower(), "decimal": exact},
        "line_item": line.item,
        "quantity": line.quantity,
        "project_id": line.tenant,
        "api_key_id": line.key_id,
        "organization_id": None,
    }
