"""How long until it pays to ask again: what is left of a cold start, as far as anybody knows.

The cold start that was learned of this model, less the time that this one has taken; between a
second and two minutes, since clients take a longer ``Retry-After`` for an error to give up on.
"""

from math import ceil

UNKNOWN_SECONDS = 30.0
"""A cold start that nobody has seen yet."""
BUSY_SECONDS = 5
"""When replicas run and all have as much as they can take: nobody knows, but soon."""
AT_LEAST, AT_MOST = 1, 120


def time_left(cold_start: float | None, waited: float) -> int:
    """Whole seconds to tell a caller. ``cold_start``: seconds learned, None before the first;
    ``waited``: seconds since the model was asked to wake."""
    left = (UNKNOWN_SECONDS if cold_start is None else cold_start) - waited
    return ceil(max(AT_LEAST, min(left, AT_MOST)))
