"""Prices are exact: no token, request or sum of them is ever rounded.

Holds: ledger/tables/prices.py
"""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preamar.ledger.tables.prices import FREE, BadPrice, Price, decimal

PRICES = st.decimals(0, 999_999_999, places=6).map(lambda d: f"{d:f}")
COUNTS = st.integers(0, 10**12)


@given(PRICES, PRICES, PRICES, PRICES, COUNTS, COUNTS, st.integers(0, 10**6), COUNTS)
def test_a_cost_is_what_decimal_arithmetic_says(
    per_input, per_output, per_request, per_second, i, o, n, ms
):
    spec = {
        "perMillionInputTokens": per_input,
        "perMillionOutputTokens": per_output,
        "perRequest": per_request,
        "perAcceleratorSecond": per_second,
    }
    exact = (Fraction(per_input) * i + Fraction(per_output) * o) / 10**6 + Fraction(per_request) * n
    exact += Fraction(per_second) * ms / 1000
    assert Fraction(decimal(Price.of(spec).cost(i, o, n, ms))) == exact


@given(st.integers(-(10**30), 10**30), st.integers(-(10**30), 10**30))
def test_texts_of_money_lose_nothing_and_have_no_needless_zeros(a, b):
    assert (decimal(a) == decimal(b)) == (a == b)
    assert Fraction(decimal(a)) * 10**12 == a
    assert "." not in decimal(a) or not decimal(a).endswith("0")


def test_the_contracts_example():
    price = Price.of({"perMillionInputTokens": "0.10", "perMillionOutputTokens": "0.40"})
    assert (price.currency, decimal(price.cost(10, 7))) == ("USD", "0.0000038")
    assert decimal(FREE.cost(10, 7)) == "0"


@pytest.mark.parametrize("text", ["", "-1", "1e3", "0.0000001", "1234567890", "NaN", "1,5", None])
def test_what_is_no_price_is_refused(text):
    with pytest.raises(BadPrice, match="perRequest"):
        Price.of({"perRequest": text})


def test_a_version_is_of_the_price_alone():
    price = Price.of({"perRequest": "0.10"})
    assert price.version == Price.of({"perRequest": "0.1", "currency": "USD"}).version
    others = {Price.of({"perRequest": "0.2"}), Price.of({"perRequest": "0.1", "currency": "EUR"})}
    assert len({price.version, *(each.version for each in others)}) == 3
