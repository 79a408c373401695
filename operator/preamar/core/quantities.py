"""How much is an amount of a resource, such as 4Gi or 250m?

Exact, because a limit is compared with a need: ``Decimal`` keeps what a float would round.
"""

from collections.abc import Mapping
from decimal import Decimal

FACTORS: Mapping[str, Decimal] = {
    "m": Decimal("0.001"),
    **{letter: Decimal(1000) ** i for i, letter in enumerate("kMGTPE", 1)},
    **{f"{letter}i": Decimal(1024) ** i for i, letter in enumerate("KMGTPE", 1)},
}


def amount(text: str) -> Decimal:
    """The amount that a Kubernetes quantity without exponent names, in the resource's own unit."""
    digits = text.rstrip("mkMGTPEKi")
    return Decimal(digits) * FACTORS.get(text[len(digits) :], Decimal(1))


def in_words(size: int) -> str:
    """A number of bytes as people write it: 1.5 GiB."""
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if size >= 1024**power:
            return f"{size / 1024**power:.1f} {unit}"
    return f"{size} B"
