"""How do tenants stand, and do ledger and model servers agree? As gateways tell (``POST /accounts``)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from preamar.protocol import fields

_DECIMAL = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")
_CURRENCY = re.compile(r"[A-Z]{3}")
_PERIOD = re.compile(r"[0-9]{4}-[0-9]{2}|prepaid")
_UNITS = {"tokens", "requests"}
DRIFT_BOUND = 0.001


@dataclass(frozen=True, slots=True)
class Account:
    """What a gateway read in the ledger: decimals of ``currency``, in ``period`` (a month such as
    2026-11, or ``prepaid``). ``reserved`` and ``remaining`` are None where there is no budget."""

    currency: str
    period: str
    spent: str
    reserved: str | None = None
    remaining: str | None = None


@dataclass(frozen=True, slots=True)
class Drift:
    """``ledger`` and ``engine`` counted the same ``unit``, ``tokens`` or ``requests``, from ``since``
    to ``until`` in seconds since 1970; ``ratio`` is what of the difference is not explained, as a
    part of what the engine counted: below 0 where the ledger has less."""

    unit: str
    ledger: int
    engine: int
    since: int
    until: int
    ratio: float

    @property
    def drifts(self) -> bool:
        """Whether somebody should look."""
        return abs(self.ratio) > DRIFT_BOUND


@dataclass(frozen=True, slots=True)
class AccountReport:
    """What is told at once: accounts by tenant, and drifts by service (``namespace/name``)."""

    tenants: Mapping[str, Account] = field(default_factory=lambda: MappingProxyType({}))
    services: Mapping[str, Drift] = field(default_factory=lambda: MappingProxyType({}))


def encode(gateway: str, report: AccountReport) -> dict[str, Any]:
    """As JSON, with the name of the gateway that tells it, for people."""
    return {
        "gateway": gateway,
        "tenants": {name: _encode_account(account) for name, account in report.tenants.items()},
        "services": {name: _encode_drift(drift) for name, drift in report.services.items()},
    }


def decode(body: Any) -> AccountReport:
    """The reverse. Raises ``ValueError``, ``KeyError`` or ``TypeError``."""
    said = fields.mapping(body)
    tenants, services = (fields.mapping(said.get(kind, {})) for kind in ("tenants", "services"))
    return AccountReport(
        {fields.name(name): _decode_account(entry) for name, entry in tenants.items()},
        {fields.name(name): _decode_drift(entry) for name, entry in services.items()},
    )


def _encode_account(account: Account) -> dict[str, Any]:
    body = {"currency": account.currency, "period": account.period, "spent": account.spent}
    limited = {"reserved": account.reserved, "remaining": account.remaining}
    return body | {name: amount for name, amount in limited.items() if amount is not None}


def _decode_account(entry: Any) -> Account:
    def money(name: str) -> str | None:
        return None if entry.get(name) is None else _text(entry[name], _DECIMAL)

    return Account(
        currency=_text(entry["currency"], _CURRENCY),
        period=_text(entry["period"], _PERIOD),
        spent=_text(entry["spent"], _DECIMAL),
        reserved=money("reserved"),
        remaining=money("remaining"),
    )


def _encode_drift(drift: Drift) -> dict[str, Any]:
    return {
        "unit": drift.unit,
        "ledger": drift.ledger,
        "engine": drift.engine,
        "ratio": f"{drift.ratio:.6f}",
        "since": drift.since,
        "until": drift.until,
    }


def _decode_drift(entry: Any) -> Drift:
    if entry["unit"] not in _UNITS:
        raise ValueError("a unit is tokens or requests")
    counts = {name: fields.count(entry[name]) for name in ("ledger", "engine", "since", "until")}
    return Drift(unit=entry["unit"], ratio=float(_text(entry["ratio"], _DECIMAL)), **counts)


def _text(given: Any, pattern: re.Pattern[str]) -> str:
    if not isinstance(given, str) or not pattern.fullmatch(given):
        raise ValueError(f"{given!r} is not like {pattern.pattern}")
    return given
