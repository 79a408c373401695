"""What may a tenant, or a key, use? A budget of money, rates, models, a time to end.

A Tenant says it in its resource, a key in the scope that it was made with; both are read here, so
that both mean the same. ``allowances`` are what has to be leased before a request may run.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from preamar.ledger.budgets.leases import PREPAID, Allowance
from preamar.ledger.tables.prices import BadPrice, pico_of
from preamar.protocol import defaults

REQUESTS, TOKENS, CONCURRENT = "requests", "tokens", "concurrent"
RATES = {REQUESTS, TOKENS, CONCURRENT}
LIMITS = ("requests_per_minute", "tokens_per_minute", "concurrent")
MOST = 10**15


class BadLimits(ValueError):
    """The sentence says what is wrong; ``param`` names it."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True, slots=True)
class UsageLimits:
    """``budget`` in pico-units of ``currency``, for each month or, ``prepaid``, once. ``expires`` in
    seconds since 1970. None: no limit; no ``models``: all."""

    budget: int | None = None
    currency: str = defaults.BUDGET_CURRENCY
    prepaid: bool = False
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent: int | None = None
    models: frozenset[str] = frozenset()
    priority: int = 0
    expires: int | None = None

    def admits(self, model: str) -> bool:
        return not self.models or model in self.models

    def allowances(self, owner: str, now: float) -> tuple[Allowance, ...]:
        """What has to be leased for a request at ``now``, in seconds since 1970."""
        if self is FREE:
            return ()
        period = minute_of(now)
        all_ = (
            (CONCURRENT, "", self.concurrent),
            (REQUESTS, period, self.requests_per_minute),
            (TOKENS, period, self.tokens_per_minute),
            (self.currency, PREPAID if self.prepaid else period[:7], self.budget),
        )
        return tuple(
            Allowance(owner, unit, when, most) for unit, when, most in all_ if most is not None
        )


def minute_of(now: float) -> str:
    """The minute, UTC, of a time in seconds since 1970: 2026-11-27T15:49."""
    return f"{datetime.fromtimestamp(now, UTC):%Y-%m-%dT%H:%M}"


FREE = UsageLimits()
NOTHING = UsageLimits(budget=0, requests_per_minute=0)
"""Of whom it cannot be read what they may use: nothing is given away by mistake."""


def of_tenant(body: Mapping[str, Any]) -> tuple[str, UsageLimits]:
    """A Tenant's name and its limits."""
    name = str((body.get("metadata") or {}).get("name", ""))
    try:
        spec = body["spec"]
        rates = spec.get("limits") or {}
        scope = {
            "budget": spec.get("budget"),
            "limits": {
                "requests_per_minute": rates.get("requestsPerMinute"),
                "tokens_per_minute": rates.get("tokensPerMinute"),
                "concurrent": rates.get("concurrent"),
            },
            "models": list(spec.get("models") or ()),
        }
        limits = of_scope(scope, priority=int(spec.get("priority", defaults.PRIORITY)))
    except (BadLimits, KeyError, TypeError, ValueError, AttributeError):
        return name, NOTHING
    return name, limits


def of_key(scope: str) -> UsageLimits:
    """The limits of a key as the ledger keeps them."""
    if scope == "{}":
        return FREE
    try:
        return of_scope(json.loads(scope))
    except (BadLimits, ValueError, TypeError, AttributeError):
        return NOTHING


def of_scope(given: Mapping[str, Any], *, priority: int = 0) -> UsageLimits:
    """Limits from ``{models, expires_at, budget: {currency, amount, period}, limits: {…}}``; what is
    left out or null is not limited. Raises ``BadLimits``."""
    known = {"name", "models", "expires_at", "budget", "limits"}
    if unknown := sorted(set(given) - known):
        raise BadLimits(f"A key has {', '.join(sorted(known))}, no '{unknown[0]}'.", unknown[0])
    budget = _object(given, "budget", {"currency", "amount", "period"})
    rates = _object(given, "limits", set(LIMITS))
    models = [] if given.get("models") is None else given["models"]
    if not isinstance(models, list) or not all(isinstance(name, str) for name in models):
        raise BadLimits("'models' must be a list of names.", "models")
    name = given.get("name")
    if name is not None and not (isinstance(name, str) and len(name) <= 128):
        raise BadLimits("'name' must be text of 128 characters at most.", "name")
    numbers = {limit: whole(rates.get(limit), limit) for limit in LIMITS}
    limits = UsageLimits(
        # Empty is a mistake, and not a budget without an end.
        budget=_amount(None if given.get("budget") is None else budget),
        currency=_currency(budget),
        prepaid=_prepaid(budget),
        models=frozenset(models),
        priority=priority,
        expires=whole(given.get("expires_at"), "expires_at"),
        **numbers,
    )
    return FREE if limits == FREE else limits


def _object(given: Mapping[str, Any], name: str, known: set[str]) -> Mapping[str, Any]:
    found = given.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict) or set(found) - known:
        raise BadLimits(f"'{name}' must be an object of {', '.join(sorted(known))}.", name)
    return found


def whole(value: Any, name: str, most: int = MOST) -> int | None:
    """A whole number, which JSON may write as 5.0. Raises ``BadLimits``."""
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or not 0 <= value <= most:
        raise BadLimits(f"'{name}' must be a whole number from 0 to {most}.", name)
    return value


def _amount(budget: Mapping[str, Any] | None) -> int | None:
    if budget is None:
        return None
    try:
        return pico_of(budget.get("amount"), "budget.amount")
    except BadPrice as error:
        raise BadLimits(str(error), "budget") from None


def _currency(budget: Mapping[str, Any]) -> str:
    currency = budget.get("currency", defaults.BUDGET_CURRENCY)
    if not (isinstance(currency, str) and len(currency) == 3 and currency.isalpha()):
        raise BadLimits("'budget.currency' must be a code such as USD.", "budget")
    return currency


def _prepaid(budget: Mapping[str, Any]) -> bool:
    period = budget.get("period", defaults.BUDGET_PERIOD)
    if not isinstance(period, str) or period not in {"Month", "Prepaid"}:
        raise BadLimits("'budget.period' must be Month or Prepaid.", "budget")
    return bool(period == "Prepaid")
