"""What did callers get from a revision that is tried, and from the one before?

Counted where requests end, while a model has a revision on trial and only then; begun anew with each.
How far answers of both are apart is noted by ``compare``. The operator judges by the sums over all
gateways.
"""

from bisect import bisect_left

from preamar.gateway.routing.replica import Slot
from preamar.protocol import canary, sequential_test
from preamar.protocol.histogram import BOUNDS

COMPARED_SECONDS = 10.0
"""How long a comparison takes at most."""
WARM = 20
"""Answers of a new revision that are not timed: the first ones of a process are slow."""


class RevisionCounter:
    """Requests, those that the replica failed on, and how long answers took, in buckets."""

    __slots__ = ("failures", "requests", "took")

    def __init__(self) -> None:
        self.requests = self.failures = 0
        self.took = [0] * (len(BOUNDS) + 1)

    def counts(self) -> canary.RevisionCounts:
        """As they are now."""
        return canary.RevisionCounts(self.requests, self.failures, tuple(self.took))


class CanaryStats:
    """Of one revision."""

    __slots__ = (
        "asked_at", "bets", "compared", "new", "next_at", "old", "revision", "total",
    )  # fmt: skip

    def __init__(self, revision: str) -> None:
        self.revision = revision
        self.old, self.new = RevisionCounter(), RevisionCounter()
        self.compared, self.total, self.bets = 0, 0.0, sequential_test.NOTHING
        # When an answer may be compared next, and how many there had been at the last time.
        self.next_at, self.asked_at = 0.0, 0

    def note(self, slot: Slot, seconds: float, *, reached: bool) -> None:
        """A place was given back. Who left, or asked what cannot be answered, tells nothing."""
        side = self.new if slot.replica.address.canary else self.old
        if not reached or slot.good is False:
            side.requests += 1
            side.failures += 1
        elif slot.answered:
            side.requests += 1
            if side is self.new and side.requests <= WARM:
                return
            side.took[bisect_left(BOUNDS, seconds)] += 1

    def differs(self, difference: float) -> None:
        """Answers of both to one question are so far apart, as a part of what is allowed."""
        self.compared += 1
        self.total += min(difference, sequential_test.MOST)
        self.bets = sequential_test.grown(self.bets, difference)

    def counts(self) -> canary.Trial:
        """As they are now, for a report."""
        apart = canary.AnswerDifferences(self.compared, self.total, tuple(self.bets))
        return canary.Trial(self.revision, self.old.counts(), self.new.counts(), apart)
