"""What a caller is told whose budget or rate is used up, and what is left of the rates.

A client that can do nothing about it is told not to try again: budgets do not come back by waiting.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

from preamar.gateway.errors import Problem
from preamar.gateway.limits.limits import CONCURRENT, REQUESTS, TOKENS
from preamar.gateway.limits.quota_lease import Exhausted
from preamar.ledger.budgets.leases import Allowance
from preamar.ledger.tables.prices import decimal


def refused(exhausted: Exhausted) -> Problem:
    """A request that does not fit."""
    allowance = exhausted.allowance
    owner = "This key" if "/" in allowance.owner else f"The tenant '{allowance.owner}'"
    unit, most = allowance.unit, allowance.most
    if unit == CONCURRENT:
        text = f"{owner} may have {most} requests at once, and has. Wait for one to end."
        return _rate(text, {"Retry-After": "1"})
    if unit in {REQUESTS, TOKENS}:
        text = f"{owner} may use {most} {unit} a minute; {exhausted.left} are left of this one."
        if exhausted.needed > most:
            text += f" This request alone may use {exhausted.needed}: ask for fewer output tokens."
            return _rate(text, {"x-should-retry": "false"})
        wait = _seconds_left()
        headers = {"Retry-After": str(max(1, wait)), **shown([(allowance, exhausted.left)])}
        return _rate(text, headers)
    what = "this month" if allowance.period != "prepaid" else "in all"
    text = (
        f"{owner} may spend {decimal(most)} {unit} {what}, of which {decimal(exhausted.left)} are free. "
        f"This request can cost {decimal(exhausted.needed)}: ask for fewer output tokens, or have the "
        "budget raised."
    )
    return Problem(
        429, text, "insufficient_quota", "insufficient_quota", headers={"x-should-retry": "false"}
    )


def _rate(text: str, headers: dict[str, str]) -> Problem:
    return Problem(429, text, "rate_limit_error", "rate_limit_exceeded", headers=headers)


def other_currency(budget: str, price: str) -> Problem:
    """Money of one currency cannot be counted in another."""
    return Problem(
        403,
        f"The model is priced in {price}, and the budget of this caller is in {budget}.",
        "permission_error",
        "currency_mismatch",
    )


def unbounded() -> Problem:
    """A budget holds only where it is known what a request can cost."""
    return Problem(
        400,
        "What this request can cost is not known before it ran, and its caller has a budget. Send "
        "it to /v1, or name 'max_tokens'.",
        code="cost_unbounded",
    )


def shown(rates: Iterable[tuple[Allowance, int]]) -> dict[str, str]:
    """OpenAI's headers: of each rate the limit, what is left and when it is whole again."""
    headers: dict[str, str] = {}
    least: dict[str, int] = {}
    for allowance, left in rates:
        unit = allowance.unit
        if left <= least.get(unit, left):
            least[unit] = left
            headers[f"x-ratelimit-limit-{unit}"] = str(allowance.most)
            headers[f"x-ratelimit-remaining-{unit}"] = str(max(0, left))
            headers[f"x-ratelimit-reset-{unit}"] = f"{_seconds_left()}s"
    return headers


def _seconds_left() -> int:
    return 60 - datetime.now(UTC).second
