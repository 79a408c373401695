"""The same requests make the same invoice, to the byte, and what it prints adds up.

Holds: ledger/reports/invoice.py, ledger/reports/priced.py
"""

import csv
import json
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preamar.ledger.reports import invoice
from preamar.ledger.store import sqlite
from preamar.ledger.tables.prices import Price
from preamar.ledger.tables.usage_record import Kind, Row, State
from tests.hunting import examples
from tests.ledgers import a_ledger

from .test_costs import DAY, ROWS, ledgers


def at(year, month, day):
    return int(datetime(year, month, day, tzinfo=UTC).timestamp()) * 1000


@examples(check=10, hunt=400)
@given(st.lists(ROWS, max_size=25, unique_by=lambda row: row.id), st.randoms())
def test_an_invoice_is_the_same_bytes_whatever_came_when_and_how_often(
    tmp_path_factory, rows, chance
):
    rows = [replace(row, tenant="a") for row in rows]
    seen = []
    for engine in ledgers(tmp_path_factory, rows, chance, 3):
        found = invoice.lines(engine, "a", "1970-01")
        seen.append((invoice.document("a", "1970-01", found), invoice.table(found)))
        assert invoice.lines(engine, "b", "1970-01") == invoice.lines(engine, "a", "1970-02") == []
    assert seen[0] == seen[1]
    told = json.loads(seen[0][0])
    owed = sum(
        Fraction(row.price.cost(row.input_tokens, row.output_tokens, 1, row.accelerator_ms), 10**12)
        for row in rows
        if row.status == 200 or row.input_tokens or row.output_tokens
    )
    assert sum(Fraction(line["exact"]) for line in told["lines"]) == owed
    for total in told["totals"]:
        mine = [line for line in told["lines"] if line["currency"] == total["currency"]]
        assert sum(Fraction(line["amount"]) for line in mine) == Fraction(total["amount"])
    for line in told["lines"]:
        unit = {"request": 1, "1,000 milliseconds": 1000}.get(line["per"], 10**6)
        assert Fraction(line["unit_price"]) * line["quantity"] / unit == Fraction(line["exact"])
        assert abs(Fraction(line["amount"]) - Fraction(line["exact"])) <= Fraction(1, 200)
    assert len(list(csv.DictReader(seen[0][1].decode().splitlines()))) == len(told["lines"])


@pytest.mark.parametrize(("pico", "currency", "shown"), [
    (5 * 10**9, "USD", "0.01"), (5 * 10**9 - 1, "USD", "0.00"), (10**12, "USD", "1.00"),
    (5 * 10**11, "JPY", "1"), (5 * 10**11 - 1, "JPY", "0"), (1234 * 10**12, "JPY", "1234"),
    (5 * 10**8, "BHD", "0.001"), (0, "EUR", "0.00"),
])  # fmt: skip
def test_a_line_is_rounded_half_up_to_what_its_currency_has(pico, currency, shown):
    assert invoice.amount(invoice.rounded(pico, currency), currency) == shown


def test_months_are_of_utc_and_meet():
    assert invoice.span("2026-11") == (at(2026, 11, 1), at(2026, 12, 1))
    assert invoice.span("2026-12") == (at(2026, 12, 1), at(2027, 1, 1))
    for wrong in ("2026-13", "2026-1", "26-11", "2026-11-01", "x", ""):
        with pytest.raises(ValueError, match="2026-11"):
            invoice.span(wrong)


def test_a_price_that_changed_within_the_month_makes_another_line(tmp_path):
    engine = a_ledger(tmp_path / "ledger.sqlite")
    row = Row(
        id="r", tenant="a", key_id="k", model="m", endpoint="/v1/completions",
        kind=Kind.COMPLETIONS, input_tokens=0, output_tokens=10**6, status=200, state=State.DONE,
        instance="i", started=DAY * 1000, finished=DAY * 1000, price=Price("USD", 0, 400_000),
    )  # fmt: skip
    dearer = replace(row, id="other", price=Price("USD", 5, 500_000))
    sqlite.write(engine, [row, dearer])
    found = [line for line in invoice.lines(engine, "a", "1970-01") if line.kind == "output"]
    assert [(line.millionths, line.minor) for line in found] == [(400_000, 40), (500_000, 50)]
    engine.dispose()
