"""What does a request cost? Integer pico-units (1e-12) of a currency, so that nothing is rounded.

A price has at most six decimals, and a millionth for a million tokens is a pico-unit for one: any
number of tokens costs a whole number of them. Money is rounded once, for each line of an invoice.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Self

from preamar.protocol import defaults

PICO = 1_000_000_000_000
MILLION, DECIMALS = 1_000_000, 6
_TEXT = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,6}))?")
_AMOUNT = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,12}))?")


class BadPrice(ValueError):
    """No price: a decimal of at most nine and six digits was expected."""


@dataclass(frozen=True, slots=True)
class PriceList:
    """What callers pay, each in millionths of the currency: for a million tokens, a request, an
    accelerator's second."""

    currency: str = defaults.CURRENCY
    million_input_tokens: int = 0
    million_output_tokens: int = 0
    request: int = 0
    accelerator_second: int = 0

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> Self:
        """The price of an InferenceService's ``spec.price``. Raises ``BadPrice``."""
        return cls(
            currency=str(spec.get("currency", defaults.CURRENCY)),
            million_input_tokens=_millionths(spec, "perMillionInputTokens"),
            million_output_tokens=_millionths(spec, "perMillionOutputTokens"),
            request=_millionths(spec, "perRequest"),
            accelerator_second=_millionths(spec, "perAcceleratorSecond"),
        )

    def cost(
        self, input_tokens: int, output_tokens: int, requests: int = 1, accelerator_ms: int = 0
    ) -> int:
        """Of so many requests with so many tokens and milliseconds of an accelerator together, in
        pico-units."""
        return (
            self.million_input_tokens * input_tokens
            + self.million_output_tokens * output_tokens
            + self.request * MILLION * requests
            + self.accelerator_second * (MILLION // 1000) * accelerator_ms
        )

    @property
    def free(self) -> bool:
        """Whether no request costs anything."""
        return not (
            self.million_input_tokens
            or self.million_output_tokens
            or self.request
            or self.accelerator_second
        )

    @property
    def version(self) -> str:
        """Twelve hex digits, the same for the same price, wherever and whenever it was set."""
        return _version(self)


@lru_cache(1024)
def _version(price: PriceList) -> str:
    return hashlib.sha256(json.dumps(asdict(price), sort_keys=True).encode()).hexdigest()[:12]


FREE = PriceList()


def _millionths(spec: Mapping[str, Any], name: str) -> int:
    found = _TEXT.fullmatch(str(spec.get(name, defaults.AMOUNT)))
    if found is None:
        raise BadPrice(f"{name} must be a decimal such as 0.40, not {spec.get(name)!r}.")
    return int(found[1]) * MILLION + int((found[2] or "").ljust(DECIMALS, "0"))


def pico_of(given: Any, name: str) -> int:
    """An amount of money as text, such as "12.50", in pico-units. Raises ``BadPrice``."""
    found = _AMOUNT.fullmatch(given) if isinstance(given, str) else None
    if found is None:
        raise BadPrice(f'{name} must be a decimal as text, such as "12.50", not {given!r}.')
    return int(found[1]) * PICO + int((found[2] or "").ljust(12, "0"))


def decimal(pico: int) -> str:
    """Money as text, exact, without needless zeros: 1_500_000_000 is 0.0015."""
    whole, rest = divmod(abs(pico), PICO)
    fraction = f"{rest:012d}".rstrip("0")
    sign = "-" if pico < 0 else ""
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"
