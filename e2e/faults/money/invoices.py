"""M4: do the rows of a sweep make the same invoices, to the byte, in whatever order they came?"""

from pathlib import Path
from random import Random

from sqlalchemy import Engine, select

from preamar.ledger.budgets.balances import month_of
from preamar.ledger.reports import invoice
from preamar.ledger.store import sqlite
from preamar.ledger.tables.schema import requests

TIMES = 2
AT_ONCE = 500


def again(ledger: Path, place: Path, random: Random) -> tuple[int, list[str]]:
    """How many rows there are, and what is wrong with the invoices of ledgers that got them in other
    orders, each row twice."""
    first = sqlite.open_store(ledger)
    with first.connect() as connection:
        rows = sqlite.rows_of(connection, connection.execute(select(requests)).all())
    asked = sorted({(row.tenant, month_of(row.started)) for row in rows})
    expected = invoices(first, asked)
    first.dispose()
    problems = []
    for number in range(TIMES):
        mixed = rows * 2
        random.shuffle(mixed)
        other = sqlite.open_store(place / f"again-{number}.sqlite")
        for at in range(0, len(mixed), AT_ONCE):
            sqlite.write(other, mixed[at : at + AT_ONCE])
        found = invoices(other, asked)
        other.dispose()
        problems += [
            f"the invoice of {which} in another order is another one"
            for which, one, two in zip(asked, expected, found, strict=True)
            if one != two
        ]
    return len(rows), problems


def invoices(engine: Engine, asked: list[tuple[str, str]]) -> list[bytes]:
    """The invoices, as documents and as tables."""
    found = [(which, invoice.lines(engine, *which)) for which in asked]
    return [invoice.document(*which, lines) + invoice.table(lines) for which, lines in found]
