"""Counts of requests with the prices they were asked at: what costs and invoices are made of."""

from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select

from preamar.ledger.reports.usage import counted
from preamar.ledger.tables.prices import PriceList
from preamar.ledger.tables.schema import prices, requests

INPUT, OUTPUT, REQUESTS, ACCELERATORS = "input", "output", "requests", "accelerator milliseconds"


class Part(NamedTuple):
    """Tokens, requests or milliseconds at one price, and the money for them in pico-units."""

    kind: str
    quantity: int
    pico: int
    millionths: int
    """The price: of a million tokens, of a request, or of a second."""


def statement(start: int, end: int, *columns: ColumnElement[Any]) -> Select[Any]:
    """Counts from ``start`` to before ``end``, in milliseconds since 1970, by columns and price."""
    both = requests.join(prices, prices.c.version == requests.c.price)
    return counted(start, end, *columns, *prices.c).select_from(both)


def parts(found: Any) -> list[Part]:
    """What one row of such a statement comes to; nothing where there was nothing."""
    price = PriceList(
        found.currency,
        found.million_input_tokens,
        found.million_output_tokens,
        found.request,
        found.accelerator_second,
    )
    given, made, count = int(found.input_tokens), int(found.output_tokens), int(found.requests)
    held = int(found.accelerator_ms) if price.accelerator_second else 0
    all_ = (
        Part(INPUT, given, price.cost(given, 0, 0), price.million_input_tokens),
        Part(OUTPUT, made, price.cost(0, made, 0), price.million_output_tokens),
        Part(REQUESTS, count, price.cost(0, 0, count), price.request),
        Part(ACCELERATORS, held, price.cost(0, 0, 0, held), price.accelerator_second),
    )
    return [part for part in all_ if part.quantity]
