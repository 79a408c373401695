"""A tenant's status: what it has spent, whether it may spend more, and that it settles.

Holds: core/tenants.py
"""

from datetime import UTC, datetime

import pytest

from preamar.api.tenant import Tenant
from preamar.core.tenants import Observed, reconcile
from preamar.protocol.accounts import Account

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
MONTHLY = {"currency": "USD", "amount": "100.00"}


def tenant(budget=None, status=None) -> Tenant:
    return Tenant.model_validate(
        {
            "apiVersion": "preamar.dev/v1alpha1",
            "kind": "Tenant",
            "metadata": {"name": "acme", "uid": "u1", "generation": 3},
            "spec": {"budget": budget},
            "status": status or {},
        }
    )


def account(spent="12.5", reserved="0.4", remaining="87.1", currency="USD") -> Account:
    return Account(currency, "2026-11", spent, reserved, remaining)


def settled(budget, told):
    """The status after one pass; a second pass has nothing to say."""
    plan = reconcile(Observed(tenant(budget), NOW, told))
    assert plan.status["metadata"] == {"name": "acme", "uid": "u1"}
    status = plan.status["status"]
    assert reconcile(Observed(tenant(budget, status), NOW, told)).empty
    return status


def ready(status) -> tuple[str, str]:
    (condition,) = status["conditions"]
    assert condition["type"] == "Ready"
    assert condition["observedGeneration"] == status["observedGeneration"] == 3
    return condition["status"], condition["reason"]


def test_money_is_shown_as_the_ledger_has_it():
    status = settled(MONTHLY, account())
    assert (status["spent"], status["reserved"], status["remaining"]) == ("12.5", "0.4", "87.1")
    assert ready(status) == ("True", "Open")


def test_a_budget_that_is_spent_says_until_when():
    status = settled(MONTHLY, account("99.9", "0.1", "0"))
    assert ready(status) == ("False", "BudgetSpent")
    message = status["conditions"][0]["message"]
    assert "100.00 USD" in message
    assert "until 2026-12-01" in message
    prepaid = settled(MONTHLY | {"period": "Prepaid"}, account("100", "0", "0"))
    assert "2026-12" not in prepaid["conditions"][0]["message"]


def test_without_a_budget_what_was_spent_is_shown_and_nothing_is_left_to_tell():
    status = settled(None, Account("EUR", "2026-11", "3.25"))
    assert ready(status) == ("True", "NoBudget")
    assert status["spent"] == "3.25"
    assert "remaining" not in status


def test_what_nobody_has_said_is_unknown_and_what_was_said_before_stays():
    assert ready(settled(MONTHLY, None)) == ("Unknown", "NotReported")
    before = settled(MONTHLY, account("100", "0", "0"))
    assert reconcile(Observed(tenant(MONTHLY, before), NOW, None)).empty


def test_a_change_of_the_budgets_currency_is_not_taken_for_money_that_is_left():
    assert ready(settled(MONTHLY | {"currency": "EUR"}, account())) == ("Unknown", "NotReported")


@pytest.mark.parametrize("day", [1, 28, 31])
def test_the_next_month_is_named_on_any_day(day):
    plan = reconcile(
        Observed(tenant(MONTHLY), NOW.replace(month=12, day=day), account("0", "0", "0"))
    )
    assert "until 2027-01-01" in plan.status["status"]["conditions"][0]["message"]
