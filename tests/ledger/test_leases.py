"""No number of gateways overspends: what is spent and what is leased never exceed the allowance.

Holds: ledger/budgets/leases.py, ledger/tables/dialect.py
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from preamar.ledger.budgets import leases
from preamar.ledger.budgets.leases import PREPAID, Allowance, Granted
from preamar.ledger.store import sqlite
from preamar.ledger.tables.prices import PICO, Price
from preamar.ledger.tables.usage_record import State
from tests.hunting import examples
from tests.ledgers import a_ledger

from .test_ledger import ROW

NOVEMBER = 1_795_000_000_000
MONTH = Allowance("acme", "USD", "2026-11", 10 * PICO)
PRICE = Price("USD", million_output_tokens=1_000_000)  # a token is a pico-dollar's million


def a_row(name, tokens, reserved=(("acme", "2026-11"),), **more):
    return replace(
        ROW, id=name, input_tokens=0, output_tokens=tokens, started=NOVEMBER, price=PRICE,
        reserved=reserved, instance="one", **more,
    )  # fmt: skip


def test_a_lease_is_what_is_needed_or_nothing(engine):
    few = replace(MONTH, most=100)
    assert leases.grant(engine, few, "one", 60) == Granted(60, 40)
    assert leases.grant(engine, few, "two", 41) == Granted(0, 40)
    assert leases.grant(engine, few, "two", 40) == Granted(40, 0)
    leases.give_back(engine, few, "one", 10)
    assert leases.grant(engine, few, "two", 10) == Granted(10, 0)


def test_more_than_is_needed_leaves_something_for_others(engine):
    few = replace(MONTH, most=100)
    assert leases.grant(engine, few, "one", 1, wanted=90) == Granted(25, 75)
    assert leases.grant(engine, few, "two", 70, wanted=90) == Granted(70, 5)


def test_what_a_request_cost_moves_from_the_lease_to_what_was_spent(engine):
    leases.grant(engine, MONTH, "one", 5 * PICO)
    row = a_row("r1", 2_000_000)
    for _ in range(3):  # however often it is written
        sqlite.write(engine, [row])
        assert leases.standing(engine, MONTH) == (2 * PICO, 3 * PICO)
    sqlite.write(engine, [replace(row, id="r2", reserved=())])
    assert leases.standing(engine, MONTH) == (4 * PICO, 3 * PICO)


def test_a_mark_costs_nothing_yet_and_the_end_of_a_dead_gateway_what_was_marked(engine):
    leases.grant(engine, MONTH, "one", 5 * PICO)
    sqlite.write(engine, [a_row("r1", 1_000_000, state=State.OPEN)])
    sqlite.write(engine, [a_row("r1", 3_000_000, state=State.OPEN)])
    assert leases.standing(engine, MONTH) == (0, 5 * PICO)
    assert sqlite.open_instances(engine) == {"one"}
    assert sqlite.close_instance(engine, "one") == 1
    assert leases.standing(engine, MONTH) == (3 * PICO, 0)
    sqlite.write(engine, [a_row("r1", 9_000_000)])
    assert leases.standing(engine, MONTH) == (3 * PICO, 0)


def test_a_gateway_with_leases_and_no_streams_is_found_when_it_is_dead(engine):
    leases.grant(engine, MONTH, "one", 5)
    assert sqlite.open_instances(engine) == {"one"}
    sqlite.close_instance(engine, "one")
    assert sqlite.open_instances(engine) == set()
    assert leases.standing(engine, MONTH) == (0, 0)


def test_a_month_is_granted_anew_and_what_is_prepaid_is_not(engine):
    sqlite.write(engine, [a_row("r1", 6_000_000, ())])
    december = replace(MONTH, period="2026-12")
    prepaid = replace(MONTH, period=PREPAID)
    assert leases.grant(engine, december, "one", 10 * PICO).amount == 10 * PICO
    assert leases.grant(engine, prepaid, "one", 5 * PICO) == Granted(0, 4 * PICO)
    assert leases.grant(engine, prepaid, "one", 4 * PICO) == Granted(4 * PICO, 0)


def test_money_beyond_sixty_four_bits_is_exact(engine):
    dear = Price("VND", million_input_tokens=999_999_999_999_999)
    for name in ("r1", "r2"):
        row = replace(a_row(name, 0, ()), input_tokens=10**12 + 7, price=dear)
        sqlite.write(engine, [row])
    spent, _ = leases.standing(engine, Allowance("acme", "VND", "2026-11", 1))
    assert spent == 2 * (10**12 + 7) * 999_999_999_999_999 > 2**64


def test_a_lease_that_was_overspent_makes_no_room_for_others(engine):
    few = replace(MONTH, most=10 * PICO)
    leases.grant(engine, few, "one", PICO)
    sqlite.write(engine, [a_row("r1", 4_000_000)])  # cost 4, leased 1
    assert leases.grant(engine, few, "two", 10 * PICO) == Granted(0, 6 * PICO)


def test_rates_of_minutes_gone_by_are_forgotten(engine):
    first = Allowance("acme", "requests", "2026-11-27T15:49", 3)
    second = replace(first, period="2026-11-27T15:50")
    assert leases.grant(engine, first, "one", 3).amount == 3
    assert leases.grant(engine, second, "one", 3).amount == 3
    assert leases.standing(engine, first) == (0, 0)


@examples(check=5, hunt=250)
@given(seed=st.integers(0, 10**6), most=st.integers(1, 10**9))
def test_gateways_that_know_nothing_of_each_other_never_lease_too_much(
    tmp_path_factory, seed, most
):
    engine = a_ledger(tmp_path_factory.mktemp("ledger") / "ledger.sqlite")
    allowance = replace(MONTH, most=most)

    def gateway(name):
        random, held = Random(f"{seed}{name}"), 0
        for _ in range(6):
            if held and random.random() < 0.3:
                leases.give_back(engine, allowance, name, held)
                held = 0
            needed = random.randint(1, most // 2 + 1)
            held += leases.grant(engine, allowance, name, needed, random.randint(0, most)).amount
        return held

    with ThreadPoolExecutor(4) as pool:
        held = list(pool.map(gateway, "abcd"))
    assert sum(held) <= most
    assert leases.standing(engine, allowance) == (0, sum(held))
    engine.dispose()
