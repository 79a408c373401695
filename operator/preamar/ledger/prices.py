"""What does a request cost? Integer pico-units (1e-12) of a currency, so that nothing is rounded.

A price has at most six decimals and is for a million tokens, so a token costs a whole number of
pico-units. Money is rounded once, for each line of an invoice.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

PICO = 1_000_000_000_000
MILLION, DECIMALS = 1_000_000, 6
_TEXT = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,6}))?")


class BadPrice(ValueError):
    """No price: a decimal of at most nine and six digits was expected."""


@dataclass(frozen=True, slots=True)
class Price:
    """What callers pay, in pico-units each."""

    currency: str = "USD"
    input_token: int = 0
    output_token: int = 0
    request: int = 0
    accelerator_second: int = 0

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> Self:
        """The price of an InferenceService's ``spec.price``. Raises ``BadPrice``."""
        return cls(
            currency=str(spec.get("currency", "USD")),
            input_token=_millionths(spec, "perMillionInputTokens"),
            output_token=_millionths(spec, "perMillionOutputTokens"),
            request=_millionths(spec, "perRequest") * MILLION,
            accelerator_second=_millionths(spec, "perAcceleratorSecond") * MILLION,
        )

    def cost(self, input_tokens: int, output_tokens: int, requests: int = 1) -> int:
        """Of so many requests with so many tokens together, in pico-units."""
        return (
            self.input_token * input_tokens
            + self.output_token * output_tokens
            + self.request * requests
        )

    @property
    def version(self) -> str:
        """Twelve hex digits, the same for the same price, wherever and whenever it was set."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]


FREE = Price()


def _millionths(spec: Mapping[str, Any], name: str) -> int:
    """A price in units of 1e-6: per million tokens, that is pico-units per token."""
    found = _TEXT.fullmatch(str(spec.get(name, "0")))
    if found is None:
        raise BadPrice(f"{name} must be a decimal such as 0.40, not {spec.get(name)!r}.")
    return int(found[1]) * MILLION + int((found[2] or "").ljust(DECIMALS, "0"))


def decimal(pico: int) -> str:
    """Money as text, exact, without needless zeros: 1_500_000_000 is 0.0015."""
    whole, rest = divmod(abs(pico), PICO)
    fraction = f"{rest:012d}".rstrip("0")
    sign = "-" if pico < 0 else ""
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"
