"""What do gateways count of a revision on trial beside the one before it, and the operator judge by?

Requests, failures and seconds of both since the trial began, and how far apart their answers are.
"""

from dataclasses import dataclass, field

from preamar.protocol.sequential_test import NOTHING, above, together

LEAST_COMPARED = 20
CHANCE = 0.001
"""That a revision whose answers are near enough is sent back all the same."""


@dataclass(frozen=True, slots=True)
class Side:
    """What one revision did. ``took``: answers by bucket, one more than there are bounds."""

    requests: int = 0
    failures: int = 0
    took: tuple[int, ...] = ()

    def plus(self, other: "Side") -> "Side":
        """Both together."""
        size = max(len(self.took), len(other.took))
        took = tuple(
            (self.took[n] if n < len(self.took) else 0)
            + (other.took[n] if n < len(other.took) else 0)
            for n in range(size)
        )
        return Side(self.requests + other.requests, self.failures + other.failures, took)


@dataclass(frozen=True, slots=True)
class Apart:
    """Differences between answers of both revisions, as parts of what is allowed: how many there
    are, their sum, and what has been won by betting that their mean is above 1."""

    compared: int = 0
    total: float = 0.0
    bets: tuple[float, ...] = NOTHING

    def plus(self, other: "Apart") -> "Apart":
        """Both together."""
        return Apart(
            self.compared + other.compared,
            self.total + other.total,
            together(self.bets, other.bets),
        )

    @property
    def mean(self) -> float:
        """Above 1 is more than is allowed; 0 where nothing was compared."""
        return self.total / self.compared if self.compared else 0.0

    @property
    def too_far(self) -> bool:
        """Whether the mean is above what is allowed, and not by chance."""
        return self.compared >= LEAST_COMPARED and self.mean > 1 and above(self.bets, CHANCE)


@dataclass(frozen=True, slots=True)
class Trial:
    """Both revisions, since ``revision`` has been tried, and how far apart their answers are."""

    revision: str
    old: Side = Side()
    new: Side = Side()
    apart: Apart = field(default_factory=Apart)
