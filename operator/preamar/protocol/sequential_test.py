"""Is the mean of what is observed above 1, for sure enough?

By a bet against it: a fortune begins at 1 and is multiplied by 1 + s (x - 1) with each x, for a stake s
from 0 to 1. Where the mean is 1 or less it does not grow in the mean, so that the chance of its ever
reaching 1000 is one in a thousand (Ville 1939; Waudby-Smith and Ramdas, "Estimating means of bounded
random variables by betting", 2024). That holds however often one looks, for any distribution of x from
0 on, and for the product of fortunes that several gateways have made.

Two stakes: the large one finds at once what is far above 1, the small one what is mostly below 1 and now
and then far above; what counts is the mean of both fortunes.
"""

from collections.abc import Sequence
from math import exp, log, log1p

STAKES = (0.5, 0.05)
MOST = 1000.0
"""What is above counts as this much. Less than was seen never makes a bet unfair."""
NOTHING = (0.0,) * len(STAKES)


def grown(logs: Sequence[float], x: float) -> tuple[float, ...]:
    """The fortunes' logarithms after ``x``, which is 0 or more."""
    return tuple(
        before + log1p(stake * (min(x, MOST) - 1))
        for before, stake in zip(logs, STAKES, strict=True)
    )


def together(one: Sequence[float], other: Sequence[float]) -> tuple[float, ...]:
    """The fortunes' logarithms where both have bet on observations of their own."""
    return tuple(a + b for a, b in zip(one, other, strict=True))


def above(logs: Sequence[float], chance: float) -> bool:
    """Whether the mean is above 1; wrong with ``chance`` at most."""
    most = max(logs)
    # By the largest, since a fortune may leave the range of a float.
    return most + log(sum(exp(each - most) for each in logs) / len(logs)) >= -log(chance)
