"""What do gateways count of a revision on trial beside the one before it, and the operator judge by?

Requests, failures and seconds of both since the trial began, and how far apart their answers are; and
how that is written in a report, and read.
"""

from dataclasses import dataclass, field
from typing import Any

from preamar.protocol import fields
from preamar.protocol.histogram import BOUNDS
from preamar.protocol.sequential_test import NOTHING, STAKES, above, together

LEAST_COMPARED = 20
CHANCE = 0.001
"""That a revision whose answers are near enough is sent back all the same."""


@dataclass(frozen=True, slots=True)
class RevisionCounts:
    """What one revision did. ``took``: answers by bucket, one more than there are bounds."""

    requests: int = 0
    failures: int = 0
    took: tuple[int, ...] = ()

    def plus(self, other: "RevisionCounts") -> "RevisionCounts":
        """Both together."""
        size = max(len(self.took), len(other.took))
        took = tuple(
            (self.took[n] if n < len(self.took) else 0)
            + (other.took[n] if n < len(other.took) else 0)
            for n in range(size)
        )
        return RevisionCounts(self.requests + other.requests, self.failures + other.failures, took)


@dataclass(frozen=True, slots=True)
class AnswerDifferences:
    """Differences between answers of both revisions, as parts of what is allowed: how many there
    are, their sum, and what has been won by betting that their mean is above 1."""

    compared: int = 0
    total: float = 0.0
    bets: tuple[float, ...] = NOTHING

    def plus(self, other: "AnswerDifferences") -> "AnswerDifferences":
        """Both together."""
        return AnswerDifferences(
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
    old: RevisionCounts = RevisionCounts()
    new: RevisionCounts = RevisionCounts()
    apart: AnswerDifferences = field(default_factory=AnswerDifferences)


def encode(trial: Trial) -> dict[str, Any]:
    """As JSON. While nothing was compared, nothing is said of it."""
    sides = {"old": _encode_side(trial.old), "new": _encode_side(trial.new)}
    apart = trial.apart
    compared = [apart.compared, apart.total, list(apart.bets)]
    return {"revision": trial.revision} | sides | ({"apart": compared} if apart.compared else {})


def decode(body: Any) -> Trial:
    """The reverse. Raises ``ValueError``, ``KeyError`` or ``TypeError``."""
    said = fields.mapping(body)
    return Trial(
        fields.name(said["revision"]),
        _decode_side(said["old"]),
        _decode_side(said["new"]),
        _decode_apart(said["apart"]) if "apart" in said else AnswerDifferences(),
    )


def _encode_side(side: RevisionCounts) -> list[Any]:
    return [side.requests, side.failures, list(side.took)]


def _decode_side(body: Any) -> RevisionCounts:
    requests, failures, took = body
    if not isinstance(took, list) or len(took) > len(BOUNDS) + 1:
        raise ValueError("a trial counts answers in buckets")
    return RevisionCounts(
        fields.count(requests), fields.count(failures), tuple(map(fields.count, took))
    )


def _decode_apart(body: Any) -> AnswerDifferences:
    compared, total, bets = body
    if not isinstance(bets, list) or len(bets) != len(STAKES):
        raise ValueError("a trial bets by two stakes")
    return AnswerDifferences(
        fields.count(compared), fields.seconds(total), tuple(map(fields.logarithm, bets))
    )
