"""What gateways say of money: who is let in, what is understood, and what is news.

Holds: demand/accounts.py
"""

from pathlib import Path

import pytest

from preamar.demand.accounts import AccountBook
from preamar.protocol.accounts import Account, Drift, decode

from .test_receiver import Receiver

ACME = {"currency": "USD", "period": "2026-11", "spent": "12.5", "reserved": "0.4",
        "remaining": "87.1"}  # fmt: skip
GPT = {"unit": "tokens", "ledger": 90, "engine": 100, "ratio": "-0.100000", "since": 5, "until": 9}
REPORT = {"gateway": "g", "tenants": {"acme": ACME}, "services": {"demo/gpt": GPT}}


async def test_a_report_is_noted_and_only_what_is_new_in_it_is_told(tmp_path: Path) -> None:
    receiver = Receiver(tmp_path)
    for _ in range(2):
        assert await receiver.post(REPORT, path="/accounts") == 204
    assert receiver.accounted == [
        (frozenset({"acme"}), frozenset({"demo/gpt"})),
        (frozenset(), frozenset()),
    ]
    assert receiver.accounts.account("acme") == Account("USD", "2026-11", "12.5", "0.4", "87.1")
    assert receiver.accounts.drift("demo/gpt") == Drift("tokens", 90, 100, 5, 9, -0.1)


async def test_nobody_without_the_key_says_anything_of_money(tmp_path: Path) -> None:
    receiver = Receiver(tmp_path)
    assert await receiver.post(REPORT, key="other", path="/accounts") == 401
    assert await receiver.post(REPORT, key="", path="/accounts") == 401
    assert receiver.accounts.account("acme") is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"tenants": {"acme": ACME | {"spent": "much"}}},
        {"tenants": {"acme": ACME | {"spent": 12.5}}},
        {"tenants": {"acme": ACME | {"currency": "usd"}}},
        {"tenants": {"acme": ACME | {"period": "2026"}}},
        {"tenants": {"": ACME}},
        {"tenants": []},
        {"services": {"demo/gpt": GPT | {"unit": "bytes"}}},
        {"services": {"demo/gpt": GPT | {"engine": True}}},
        {"services": {"demo/gpt": GPT | {"ledger": -1}}},
        {"services": {"demo/gpt": GPT | {"ratio": "nan"}}},
        [],
        None,
    ],
)
async def test_what_is_no_report_changes_nothing(tmp_path: Path, wrong) -> None:
    receiver = Receiver(tmp_path)
    sent = REPORT | wrong if isinstance(wrong, dict) else wrong
    assert await receiver.post(sent, path="/accounts") == 400
    assert receiver.accounts.account("acme") is None
    assert receiver.accounts.drift("demo/gpt") is None
    assert not receiver.accounted


def test_a_tenant_or_service_that_is_gone_is_forgotten_and_the_book_has_a_bound() -> None:
    book = AccountBook()
    book.take(decode(REPORT))
    book.forget_tenant("acme")
    book.forget_service("demo/gpt")
    assert book.account("acme") is None
    assert book.drift("demo/gpt") is None
    with pytest.raises(ValueError, match="more than"):
        book.take(decode({"tenants": {f"t{n}": ACME for n in range(20_001)}}))
