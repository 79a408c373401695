"""Is a failed attempt tried again, and how often?

One row a class. What is nobody's fault is free; what only the user can mend is final; all else
counts against restarts.limit. Whatever fails so often in a row at the same place, without a step in
between, would fail there for ever: it is given up, so that no more accelerators are burned on it.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple, Self

POISON = "PoisonStep"


class RetryCost(StrEnum):
    """Whose turn it is."""

    FREE = "Free"
    COUNTED = "Counted"
    FINAL = "Final"


class FailurePolicy(NamedTuple):
    """What is done about a class. ``most`` failures in a row at one place are the last; ``poison``
    says that then the step is to blame, else the surroundings, at whatever place."""

    turn: RetryCost = RetryCost.COUNTED
    most: int = 3
    poison: bool = True


POLICIES: Mapping[str, FailurePolicy] = {
    "Stopped": FailurePolicy(RetryCost.FREE),
    "PodLost": FailurePolicy(RetryCost.FREE),
    "PeerLost": FailurePolicy(RetryCost.FREE),
    "ConfigError": FailurePolicy(RetryCost.FINAL),
    "DataError": FailurePolicy(RetryCost.FINAL),
    "CheckpointTorn": FailurePolicy(RetryCost.FINAL),
    # A memory that was too small is so the second time, unless a neighbour took it.
    "OutOfMemory": FailurePolicy(most=2, poison=False),
    "SharedMemory": FailurePolicy(most=2, poison=False),
    "DiskFull": FailurePolicy(poison=False),
    "CheckpointError": FailurePolicy(poison=False),
    # Another node may have the way that this one lacked.
    "InterconnectMismatch": FailurePolicy(poison=False),
    # The same samples from the same weights: once more rules out a bit that flipped.
    "NonFiniteLoss": FailurePolicy(most=2),
    "Hung": FailurePolicy(),
    "Killed": FailurePolicy(),
    "Unknown": FailurePolicy(),
}
FINAL = frozenset(kind for kind, policy in POLICIES.items() if policy.turn == RetryCost.FINAL)
GIVEN_UP = FINAL | {POISON} | {k for k, p in POLICIES.items() if p.turn == RetryCost.COUNTED}
"""Classes that may become the reason why a job is given up."""


def policy(kind: str) -> FailurePolicy:
    """The row of a class; what nobody has heard of counts."""
    return POLICIES.get(kind, FailurePolicy())


class Streak(NamedTuple):
    """How often attempts failed in a row at one place: in a step, or before the first (None)."""

    times: int = 0
    step: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """As ``str`` wrote it; none where it did not."""
        times, _, step = text.partition("@")
        if not times.isdecimal():
            return cls()
        return cls(int(times), int(step) if step.isdecimal() else None)

    def __str__(self) -> str:
        return f"{self.times}@{'start' if self.step is None else self.step}"

    def after(self, kind: str, step: int | None) -> "Streak":
        """With one more failure. What is free says nothing of the place."""
        if policy(kind).turn == RetryCost.FREE:
            return self
        return Streak(self.times + 1 if self.step == step else 1, step)

    def hopeless(self, kind: str) -> str:
        """The reason to give up after a failure of this class; empty to try again."""
        row = policy(kind)
        if row.turn == RetryCost.FINAL:
            return kind
        if row.turn == RetryCost.FREE or self.times < row.most:
            return ""
        if not row.poison:
            return kind
        return POISON if self.step is not None else ""


NONE_IN_A_ROW = Streak()
