"""What a tenant owes is the same money however it is asked for, and in whatever order it came.

Holds: ledger/reports/costs.py, ledger/reports/priced.py
"""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preamar.ledger.reports import costs
from preamar.ledger.reports.usage import BadQuery
from preamar.ledger.store import sqlite
from preamar.ledger.tables.prices import Price
from preamar.ledger.tables.usage_record import Kind, Row, State
from tests.hunting import examples
from tests.ledgers import a_ledger

DAY = 86_400
PRICES = (
    Price(),
    Price("USD", 100_000, 400_000),
    Price("USD", 100_001, 7, 3),
    Price("EUR", 10**15 - 1, 10**15 - 1, 10**15 - 1),
    Price("USD", 5, 0, 0, 1_234_567),
)
ROWS = st.builds(
    lambda number, tenant, key, model, price, given, made, status, second, held: Row(
        id=f"r{number}", tenant=tenant, key_id=key, model=model, endpoint="/v1/completions",
        kind=Kind.COMPLETIONS, input_tokens=given, output_tokens=made, status=status,
        state=State.DONE, instance="i", started=second * 1000, finished=second * 1000 + 5,
        price=price, accelerator_ms=held,
    ),
    st.integers(0, 30), st.sampled_from("ab"), st.sampled_from(["k1", "k2"]),
    st.sampled_from(["m", "n"]), st.sampled_from(PRICES), st.integers(0, 10**6),
    st.integers(0, 10**6), st.sampled_from([200, 499, 500]), st.integers(0, 3 * DAY - 1),
    st.integers(0, 10**6),
)  # fmt: skip
GROUPS = st.sets(st.sampled_from(costs.GROUPS))


def asked(groups=(), **more):
    given = {"start_time": ["0"], "end_time": [str(3 * DAY)], "limit": ["31"]}
    given |= {"group_by[]": list(groups)} if groups else {}
    return costs.query_of(given | more, 0)


def ledgers(factory, rows, chance, times):
    """The same requests in two ledgers: as they came, and each so often and in any order."""
    again = rows * times
    chance.shuffle(again)
    for order in (rows, again):
        engine = a_ledger(factory.mktemp("ledger") / "ledger.sqlite")
        for row in order:
            sqlite.write(engine, [row])
        yield engine
        engine.dispose()


@examples(check=10, hunt=400)
@given(st.lists(ROWS, max_size=25, unique_by=lambda row: row.id), GROUPS, st.randoms())
def test_the_sums_are_exact_in_any_grouping_and_any_order_of_arrival(
    tmp_path_factory, rows, groups, chance
):
    counted = [r for r in rows if r.status == 200 or r.input_tokens or r.output_tokens]
    owed = {}
    for row in counted:
        cost = row.price.cost(row.input_tokens, row.output_tokens, 1, row.accelerator_ms)
        owed[row.price.currency] = owed.get(row.price.currency, 0) + cost
    reports = []
    for engine in ledgers(tmp_path_factory, rows, chance, 2):
        found = costs.lines(engine, asked(groups))
        sums = {}
        for line in found:
            sums[line.currency] = sums.get(line.currency, 0) + line.pico
        assert sums == owed
        reports.append(costs.report(asked(groups), found))
    assert reports[0] == reports[1]


@pytest.fixture
def engine(tmp_path):
    engine = a_ledger(tmp_path / "ledger.sqlite")
    row = Row(
        id="r", tenant="acme", key_id="k1", model="gpt", endpoint="/v1/completions",
        kind=Kind.COMPLETIONS, input_tokens=10, output_tokens=7, status=200, state=State.DONE,
        instance="i", started=DAY * 1000, finished=DAY * 1000, price=PRICES[1],
    )  # fmt: skip
    dearer = replace(row, id="s", price=replace(PRICES[1], request=10_000))
    sqlite.write(engine, [row, dearer, replace(row, id="t", tenant="beta", key_id="k2")])
    yield engine
    engine.dispose()


def results(engine, groups=(), items=(), **more):
    page = costs.report(asked(groups, **more), costs.lines(engine, asked(groups, **more), items))
    return [result for bucket in page["data"] for result in bucket["results"]]


def test_line_items_have_their_quantities_and_old_requests_keep_their_price(engine):
    found = {
        r["line_item"]: r
        for r in results(engine, ["line_item", "project_id"], project_ids=["acme"])
    }
    shown = {item: (r["quantity"], r["amount"]["decimal"]) for item, r in found.items()}
    assert shown == {
        "gpt, input": (20, "0.000002"),
        "gpt, output": (14, "0.0000056"),
        "gpt, requests": (2, "0.01"),
    }
    assert found["gpt, input"]["amount"] == {
        "value": 2e-06,
        "currency": "usd",
        "decimal": "0.000002",
    }
    (one,) = results(engine, items=("gpt, output",))
    assert (one["amount"]["decimal"], one["quantity"]) == ("0.0000084", None)


def test_a_page_shows_each_day_and_what_no_costs_have_is_refused(engine):
    page = costs.report(asked(), costs.lines(engine, asked()))
    assert [len(bucket["results"]) for bucket in page["data"]] == [0, 1, 0]
    total = sum(Fraction(r["amount"]["decimal"]) for r in results(engine, ["project_id"]))
    assert total == Fraction(results(engine)[0]["amount"]["decimal"])
    with pytest.raises(BadQuery, match="group_by knows project_id, api_key_id, line_item"):
        asked(["model"])
    with pytest.raises(BadQuery, match="bucket_width must be 1d"):
        asked(bucket_width=["1h"])
