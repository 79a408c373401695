"""Which replica gets the next request: the one with the least in flight that has room.

Requests that begin alike go to the same replica while it carries no more than a quarter above the
mean (consistent hashing with bounded loads, Mirrokni, Thorup and Zadimoghaddam 2018).

A replica that could not be reached twice in a row, or that failed on three requests in a row, is
left out for a second, twice as long each time up to ten; when it returns it gets one request at a
time until one succeeds. Failing alone never takes out more than half: then it may well be what was
asked that is wrong.
"""

from collections.abc import Collection, Sequence
from math import ceil
from typing import Protocol, TypeVar

from preamar.gateway.routing.affinity import NONE, weight

MISSES_TO_EJECT = 2
ERRORS_TO_EJECT = 3
EJECT_SECONDS = 1.0
EJECT_AT_MOST = 10.0
SURPLUS = 1.25


class Loaded(Protocol):
    """What the choice needs to know of a replica. ``ejected_until`` is 0 for one that is not on
    trial."""

    in_flight: int
    ejected_until: float
    seed: int


R = TypeVar("R", bound=Loaded)


def pick(
    replicas: Collection[R], room: int, now: float, affinity: int = NONE, avoid: R | None = None
) -> R | None:
    """The replica with the fewest requests below ``room``; the first of equals; None if all are
    full or left out. ``avoid`` only where there is no other."""
    best: R | None = None
    usable: list[R] = []
    for replica in replicas:
        if replica.ejected_until and _out(replica, now):
            continue
        if affinity:
            usable.append(replica)
        if replica is avoid or replica.in_flight >= room:
            continue
        if best is None or replica.in_flight < best.in_flight:
            best = replica
    if best is None:
        return avoid if avoid in replicas and _takes(avoid, room, now) else None
    if len(usable) > 1:
        return _alike(usable, room, affinity, avoid) or best
    return best


def _alike(usable: Sequence[R], room: int, affinity: int, avoid: R | None) -> R | None:
    """The replica where requests of that affinity belong, if it does not carry too many."""
    most = ceil(SURPLUS * (sum(replica.in_flight for replica in usable) + 1) / len(usable))
    bound = min(room, most)
    allowed = [r for r in usable if r.in_flight < bound and r is not avoid]
    return max(allowed, key=lambda r: weight(affinity, r.seed), default=None)


def _takes(replica: R | None, room: int, now: float) -> bool:
    return replica is not None and replica.in_flight < room and not _out(replica, now)


def _out(replica: Loaded, now: float) -> bool:
    return replica.ejected_until > now or (replica.ejected_until > 0 and replica.in_flight > 0)


def ejection(misses: int, errors: int, others_out: int, replicas: int) -> float:
    """Seconds to leave a replica out that was missed or failed so many times in a row, while so
    many others of all ``replicas`` are out."""
    seconds = _seconds(misses - MISSES_TO_EJECT)
    if 2 * (others_out + 1) <= replicas:
        seconds = max(seconds, _seconds(errors - ERRORS_TO_EJECT))
    return seconds


def _seconds(beyond: int) -> float:
    return 0.0 if beyond < 0 else min(EJECT_SECONDS * 2.0 ** min(beyond, 8), EJECT_AT_MOST)
