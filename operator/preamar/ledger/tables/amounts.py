"""How are amounts stored that do not fit a database's integer?

Nine million dollars in pico-units are more than 64 bits, and a few hundred in a currency of small
value too. An amount is two integers, billions and the rest, that are added to each on its own: they
need no carry until someone reads them.
"""

from typing import Any

from sqlalchemy import BigInteger, Column, Table

BILLION = 1_000_000_000


def columns() -> tuple[Column[int], Column[int]]:
    """The two columns of an amount."""
    return (
        Column("billions", BigInteger, nullable=False),
        Column("rest", BigInteger, nullable=False),
    )


def halves(amount: int) -> dict[str, int]:
    """An amount as values of its columns; of a negative one both are at most 0."""
    sign = -1 if amount < 0 else 1
    billions, rest = divmod(abs(amount), BILLION)
    return {"billions": sign * billions, "rest": sign * rest}


def whole(row: Any) -> int:
    """The amount that a row with both columns holds."""
    return int(row.billions) * BILLION + int(row.rest)


def added(table: Table, given: Any) -> dict[str, Any]:
    """What ON CONFLICT sets to add the amount of the row that was given."""
    return {name: table.c[name] + given[name] for name in ("billions", "rest")}
