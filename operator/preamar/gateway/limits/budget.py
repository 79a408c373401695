"""How does a tenant's budget stand? What was spent, what running requests may still cost, what is left."""

from typing import Any

from sqlalchemy import Engine

from preamar.gateway.limits.limits import RATES, UsageLimits
from preamar.ledger.budgets.balances import tenant_owner
from preamar.ledger.budgets.leases import PREPAID, standing
from preamar.ledger.tables.prices import decimal


def standing_of(engine: Engine, tenant: str, limits: UsageLimits, now: float) -> dict[str, Any]:
    """As JSON; amounts are None where the tenant has no budget. Blocks on the database."""
    found = [a for a in limits.allowances(tenant_owner(tenant), now) if a.unit not in RATES]
    told: dict[str, Any] = {"object": "budget", "tenant": tenant, "currency": limits.currency}
    if not found:
        return told | dict.fromkeys(("amount", "period", "spent", "reserved", "remaining"))
    (allowance,) = found
    spent, reserved = standing(engine, allowance)
    return told | {
        "amount": decimal(allowance.most),
        "period": "Prepaid" if allowance.period == PREPAID else allowance.period,
        "spent": decimal(spent),
        "reserved": decimal(reserved),
        "remaining": decimal(allowance.most - spent - reserved),
    }
