"""What did gateways last say of money? ``POST /accounts``, with the internal key.

All gateways read the same ledger, so the last word counts. It is heard in one thread and asked for
in another; entries are replaced, never changed.
"""

import re
from collections.abc import Mapping
from typing import Any

from preamar.core.serving.metering import Drift
from preamar.core.tenants import Account

MOST = 20_000
LONGEST_NAME = 253
_DECIMAL = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")
_CURRENCY = re.compile(r"[A-Z]{3}")
_PERIOD = re.compile(r"[0-9]{4}-[0-9]{2}|prepaid")
_UNITS = {"tokens", "requests"}


class AccountBook:
    """Accounts by tenant, and drifts by service (``namespace/name``)."""

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}
        self._drifts: dict[str, Drift] = {}

    def take(self, body: Any) -> tuple[frozenset[str], frozenset[str]]:
        """Note a report; the tenants and services of which something is new. Raises ``ValueError``,
        ``KeyError`` or ``TypeError``."""
        tenants = {_name(n): _account(entry) for n, entry in _object(body, "tenants").items()}
        drifts = {_name(n): _drift(entry) for n, entry in _object(body, "services").items()}
        if len(self._accounts.keys() | tenants) > MOST or len(self._drifts.keys() | drifts) > MOST:
            raise ValueError(f"more than {MOST} accounts")
        changed = (
            frozenset(name for name, one in tenants.items() if self._accounts.get(name) != one),
            frozenset(name for name, one in drifts.items() if self._drifts.get(name) != one),
        )
        self._accounts.update(tenants)
        self._drifts.update(drifts)
        return changed

    def account(self, tenant: str) -> Account | None:
        """How a tenant stands."""
        return self._accounts.get(tenant)

    def drift(self, service: str) -> Drift | None:
        """Whether the ledger and the model servers of a service agree."""
        return self._drifts.get(service)

    def forget_tenant(self, tenant: str) -> None:
        """It was deleted."""
        self._accounts.pop(tenant, None)

    def forget_service(self, service: str) -> None:
        """It was deleted."""
        self._drifts.pop(service, None)


def _object(body: Any, name: str) -> Mapping[str, Any]:
    found = body.get(name, {}) if isinstance(body, dict) else None
    if not isinstance(found, dict):
        raise TypeError("a report and its parts are objects")
    return found


def _name(text: Any) -> str:
    if not isinstance(text, str) or not 0 < len(text) <= LONGEST_NAME:
        raise ValueError("a name is a text of 1 to 253 characters")
    return text


def _account(entry: Any) -> Account:
    def money(name: str) -> str | None:
        return None if entry.get(name) is None else _text(entry[name], _DECIMAL)

    return Account(
        currency=_text(entry["currency"], _CURRENCY),
        period=_text(entry["period"], _PERIOD),
        spent=_text(entry["spent"], _DECIMAL),
        reserved=money("reserved"),
        remaining=money("remaining"),
    )


def _drift(entry: Any) -> Drift:
    if entry["unit"] not in _UNITS:
        raise ValueError("a unit is tokens or requests")
    counts = {name: entry[name] for name in ("ledger", "engine", "since", "until")}
    if not all(type(count) is int and 0 <= count < 2**53 for count in counts.values()):
        raise ValueError("counts are whole numbers from 0")
    return Drift(unit=entry["unit"], ratio=float(_text(entry["ratio"], _DECIMAL)), **counts)


def _text(given: Any, pattern: re.Pattern[str]) -> str:
    if not isinstance(given, str) or not pattern.fullmatch(given):
        raise ValueError(f"{given!r} is not like {pattern.pattern}")
    return given
