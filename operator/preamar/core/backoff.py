"""How long is the pause before another try?

It doubles from one time to the next, up to a limit. The n-th pause is the same for everybody who
knows how many there were, so nothing but a count has to be kept.
"""

from typing import NamedTuple

MOST_DOUBLINGS = 10


class Backoff(NamedTuple):
    """Seconds of the first pause and of the longest."""

    first: float
    longest: float


INCOMPLETE_GANG = Backoff(60.0, 1800.0)
"""Before pods that all must have a place are tried again, once not all of them had one."""


def pause(backoff: Backoff, before: int) -> float:
    """Seconds of the pause that so many others came before."""
    doubled: float = 2.0 ** min(max(before, 0), MOST_DOUBLINGS)
    return min(backoff.longest, backoff.first * doubled)
