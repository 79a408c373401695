"""What was spent is at any time what the rows come to, in whatever order and how often they came.

Holds: ledger/budgets/balances.py, ledger/tables/amounts.py, ledger/tables/prepared.py,
ledger/tables/usage_record.py
"""

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from preamar.ledger.budgets.balances import month_of
from preamar.ledger.store import sqlite
from preamar.ledger.tables.amounts import halves, whole
from preamar.ledger.tables.prices import Price
from preamar.ledger.tables.schema import balances, requests
from preamar.ledger.tables.usage_record import State
from tests.hunting import examples
from tests.ledgers import a_ledger

from .test_ledger import ROW

PRICES = [
    Price(),
    Price("USD", 100_000, 400_000, 1),
    Price("EUR", 3, 999_999, 250_000),
    Price("VND", 10**12, 10**14, 10**9),
    Price("USD", 0, 7, 0, 123_456),
]

rows = st.builds(
    replace,
    st.just(ROW),
    id=st.sampled_from("abcdefgh"),
    tenant=st.sampled_from(["acme", "beta"]),
    key_id=st.sampled_from(["k1", "k2"]),
    input_tokens=st.integers(0, 10**7),
    output_tokens=st.integers(0, 10**7),
    accelerator_ms=st.integers(0, 10**7),
    status=st.sampled_from([200, 499, 500]),
    state=st.sampled_from(list(State)),
    instance=st.sampled_from(["one", "two"]),
    started=st.sampled_from([1_793_000_000_000, 1_796_083_199_999, 1_796_083_200_000]),
    price=st.sampled_from(PRICES),
)


@examples(check=10, hunt=400)
@given(batches=st.lists(st.lists(rows, min_size=1, max_size=8), max_size=6), dead=st.booleans())
def test_balances_are_the_sum_of_the_settled_rows(tmp_path_factory, batches, dead):
    engine = a_ledger(tmp_path_factory.mktemp("ledger") / "ledger.sqlite")
    first = {}
    for batch in batches:
        # A request has one price, owner and time however often it is told of.
        told = [
            replace(
                row, tenant=same.tenant, key_id=same.key_id, started=same.started, price=same.price
            )
            for row in batch
            if (same := first.setdefault(row.id, row))
        ]
        sqlite.write(engine, told)
    if dead:
        sqlite.close_instance(engine, "one")
    by_version = {price.version: price for price in PRICES}
    expected = Counter()
    with engine.connect() as connection:
        for row in connection.execute(select(requests).where(requests.c.state == State.DONE)):
            price = by_version[row.price]
            if row.status == 200 or row.input_tokens or row.output_tokens:
                cost = price.cost(row.input_tokens, row.output_tokens, 1, row.accelerator_ms)
                for owner in (row.tenant, f"key/{row.key_id}"):
                    expected[owner, price.currency, month_of(row.started)] += cost
        found = {
            (row.owner, row.unit, row.period): whole(row)
            for row in connection.execute(select(balances))
        }
    engine.dispose()
    assert found == {key: cost for key, cost in expected.items() if cost}


@given(st.integers(-(10**30), 10**30))
def test_an_amount_is_the_same_after_it_was_taken_apart(amount):
    parts = halves(amount)
    assert parts["billions"] * 1_000_000_000 + parts["rest"] == amount
