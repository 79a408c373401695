"""What does a tenant pay for a month? A fold of its request rows, the same bytes at any time.

One line for each model, kind of quantity and price. Each line is exact in pico-units and rounded
once, half up, to the smallest unit of its currency; totals are sums of rounded lines, so what is
printed adds up.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Engine

from preamar.ledger.reports import priced
from preamar.ledger.tables.prices import MILLION, PICO, decimal
from preamar.ledger.tables.schema import requests

MINOR_UNITS: Mapping[str, int] = dict.fromkeys(
    [
        "BIF",
        "CLP",
        "DJF",
        "GNF",
        "ISK",
        "JPY",
        "KMF",
        "KRW",
        "PYG",
        "RWF",
        "UGX",
        "UYI",
        "VND",
        "VUV",
        "XAF",
        "XOF",
        "XPF",
    ],
    0,
) | dict.fromkeys(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"], 3)
"""Decimals of currencies that do not have two (ISO 4217)."""
_MONTH = re.compile(r"([1-9][0-9]{3})-(0[1-9]|1[0-2])")
_PER = {
    priced.INPUT: "1,000,000 tokens",
    priced.OUTPUT: "1,000,000 tokens",
    priced.REQUESTS: "request",
    priced.ACCELERATORS: "1,000 milliseconds",
}
COLUMNS = ("model", "item", "quantity", "unit_price", "per", "exact", "amount", "currency")


class InvoiceLine(NamedTuple):
    """One line. ``minor``: the amount in the smallest unit of the currency."""

    currency: str
    model: str
    kind: str
    millionths: int
    quantity: int
    pico: int
    minor: int


def span(month: str) -> tuple[int, int]:
    """The milliseconds since 1970 at which a month such as 2026-11 begins and ends, UTC. Raises
    ``ValueError``."""
    found = _MONTH.fullmatch(month)
    if found is None:
        raise ValueError(f"A month is written as 2026-11, not {month!r}.")
    year, number = int(found[1]), int(found[2])
    following = (year + number // 12, number % 12 + 1)
    begin, end = (
        datetime(*each, 1, tzinfo=UTC).timestamp() for each in ((year, number), following)
    )
    return int(begin) * 1000, int(end) * 1000


def lines(engine: Engine, tenant: str, month: str) -> list[InvoiceLine]:
    """The lines of a tenant's invoice, in their order."""
    row = requests.c
    statement = priced.statement(*span(month), row.model).where(row.tenant == tenant)
    sums: dict[tuple[str, str, str, int], tuple[int, int]] = {}
    with engine.connect() as connection:
        for found in connection.execute(statement):
            for part in priced.parts(found):
                # Prices that differ elsewhere are one line here.
                key = (found.currency, found.model, part.kind, part.millionths)
                quantity, pico = sums.get(key, (0, 0))
                sums[key] = (quantity + part.quantity, pico + part.pico)
    return [
        InvoiceLine(*key, quantity, pico, rounded(pico, key[0]))
        for key, (quantity, pico) in sorted(sums.items())
    ]


def rounded(pico: int, currency: str) -> int:
    """Money in the smallest unit of its currency, half up."""
    unit = PICO // int(10 ** MINOR_UNITS.get(currency, 2))
    return (2 * pico + unit) // (2 * unit)


def amount(minor: int, currency: str) -> str:
    """Money as it is printed, with all decimals of its currency."""
    places = MINOR_UNITS.get(currency, 2)
    text = str(minor).rjust(places + 1, "0")
    return f"{text[:-places]}.{text[-places:]}" if places else text


def document(tenant: str, month: str, found: Iterable[InvoiceLine]) -> bytes:
    """The invoice as JSON: the same lines are the same bytes."""
    found = list(found)
    totals: dict[str, int] = {}
    for line in found:
        totals[line.currency] = totals.get(line.currency, 0) + line.minor
    told = {
        "object": "invoice",
        "tenant": tenant,
        "month": month,
        "lines": [_shown(line) for line in found],
        "totals": [
            {"currency": currency, "amount": amount(minor, currency)}
            for currency, minor in sorted(totals.items())
        ],
    }
    return json.dumps(told, indent=1).encode() + b"\n"


def table(found: Iterable[InvoiceLine]) -> bytes:
    """The lines as CSV with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_shown(line) for line in found)
    return text.getvalue().encode()


def _shown(line: InvoiceLine) -> dict[str, Any]:
    return {
        "model": line.model,
        "item": line.kind,
        "quantity": line.quantity,
        "unit_price": decimal(line.millionths * (PICO // MILLION)),
        "per": _PER[line.kind],
        "exact": decimal(line.pico),
        "amount": amount(line.minor, line.currency),
        "currency": line.currency,
    }
