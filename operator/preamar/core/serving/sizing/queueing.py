"""How many requests would begin too late, with so many places and such arrivals?

A fluid, first come, first served: in each second as many requests begin as there is service for.
One that begins more than ``wait`` seconds after it arrived is late. Exact up to the second, which
is what scaling can see.
"""

from collections.abc import Sequence


def late_starts(
    before: Sequence[float],
    waiting: float,
    coming: Sequence[float],
    serves: Sequence[float],
    wait: int,
) -> tuple[float, float]:
    """Requests that begin late, or are late and still wait at the end; and the seconds that
    requests wait too long, added up.

    ``before``: arrivals in each of the last seconds, oldest first; the newest of them are the
    ``waiting`` ones. ``coming`` and ``serves``: arrivals and possible starts in each second from
    now on, of one length. ``wait``: whole seconds that a request may wait.
    """
    known = before[-wait:] if wait else ()
    # arrived[i] is the sum up to the second that lies ``wait`` + 1 seconds before second i.
    arrived = [0.0] * (wait + 1 - len(known))
    total = 0.0
    for count in known:
        total += count
        arrived.append(total)
    # Those that wait for longer than ``before`` goes back are late already.
    begun = total - waiting
    late = overtime = 0.0
    for second, count in enumerate(coming):
        total += count
        arrived.append(total)
        due = arrived[second]
        until = begun + serves[second]
        until = min(until, total)
        overdue = min(until, due) - begun
        if overdue > 0:
            late += overdue
        begun = until
        if due > begun:
            overtime += due - begun
    overdue = arrived[len(coming)] - begun
    return late + max(overdue, 0.0), overtime
