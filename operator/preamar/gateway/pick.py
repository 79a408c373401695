"""Which replica gets the next request: the one with the least in flight that has room.

A replica that could not be reached twice in a row is left out for a second, twice as long each time
up to ten; when it returns it gets one request at a time until one succeeds.
"""

from collections.abc import Iterable
from typing import Protocol, TypeVar

FAILURES_TO_EJECT = 2
EJECT_SECONDS = 1.0
EJECT_AT_MOST = 10.0


class Loaded(Protocol):
    """What the choice needs to know of a replica."""

    in_flight: int
    failures: int
    ejected_until: float


R = TypeVar("R", bound=Loaded)


def pick(replicas: Iterable[R], room: int, now: float) -> R | None:
    """The replica with the fewest requests below ``room``; the first of equals; None if all are
    full or left out."""
    best: R | None = None
    for replica in replicas:
        if replica.failures and (
            replica.ejected_until > now
            or (replica.failures >= FAILURES_TO_EJECT and replica.in_flight > 0)
        ):
            continue
        if replica.in_flight < room and (best is None or replica.in_flight < best.in_flight):
            best = replica
    return best


def ejection(failures: int) -> float:
    """Seconds to leave a replica out after that many connect failures in a row."""
    if failures < FAILURES_TO_EJECT:
        return 0.0
    return min(EJECT_SECONDS * 2.0 ** min(failures - FAILURES_TO_EJECT, 8), EJECT_AT_MOST)
