"""How does a tenant stand? The status of a ``Tenant`` from what gateways say of its money.

Gateways decide about requests by themselves; this only tells people.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from preamar.api.tenant import Period, Tenant
from preamar.core.conditions import Verdict, merge
from preamar.core.metadata import status_of
from preamar.core.plan import Plan
from preamar.protocol.accounts import Account

KIND = "Tenant"


class TenantReason(StrEnum):
    OPEN = "Open"
    NO_BUDGET = "NoBudget"
    SPENT = "BudgetSpent"
    UNKNOWN = "NotReported"


@dataclass(frozen=True, slots=True)
class Observed:
    """One tenant, and its account if a gateway has told of it since this operator began."""

    tenant: Tenant
    now: datetime
    account: Account | None = None


def reconcile(observed: Observed) -> Plan:
    """Its status, where that says something new."""
    tenant, account = observed.tenant, observed.account
    before = tenant.status
    told = (_ready(observed),)
    status: dict[str, Any] = {
        "observedGeneration": tenant.metadata.generation,
        "conditions": merge(before.conditions, told, tenant.metadata.generation, observed.now),
    }
    # What was known before is better than nothing.
    known: Any = before if account is None else account
    for name in ("spent", "reserved", "remaining"):
        if (amount := getattr(known, name)) is not None:
            status[name] = amount
    if status == before.model_dump(mode="json", by_alias=True, exclude_none=True):
        return Plan()
    return Plan(status=status_of(KIND, tenant.metadata, status))


def _ready(observed: Observed) -> Verdict:
    budget, account = observed.tenant.spec.budget, observed.account
    if budget is None:
        return Verdict("Ready", "True", TenantReason.NO_BUDGET, "It may spend without a limit.")
    if account is None or account.currency != budget.currency:
        was = observed.tenant.status.condition("Ready")
        if was is not None and was.reason in {TenantReason.OPEN, TenantReason.SPENT}:
            return Verdict("Ready", was.status, was.reason, was.message)
        return Verdict(
            "Ready", "Unknown", TenantReason.UNKNOWN, "No gateway has said yet what it has spent."
        )
    if Decimal(account.remaining or "0") > 0:
        return Verdict("Ready", "True", TenantReason.OPEN, "Its requests are taken.")
    ends = (
        "until spec.budget.amount is raised"
        if budget.period == Period.PREPAID
        else f"until {_next_month(observed.now)}, or until spec.budget.amount is raised"
    )
    return Verdict(
        "Ready",
        "False",
        TenantReason.SPENT,
        f"All of {budget.amount} {budget.currency} is spent or set aside for requests that run; "
        f"others are refused {ends}.",
    )


def _next_month(now: datetime) -> str:
    first = (now.replace(day=1) + timedelta(days=32)).replace(day=1)
    return f"{first:%Y-%m-%d}"
