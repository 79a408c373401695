"""How long does a caller still wait? What it says in ``x-request-timeout``, in seconds.

When that is over, its request leaves the hold, the work behind it is cancelled, and it is told so.
What is left of it goes to the model server with the request.
"""

from math import isfinite

from preamar.gateway.errors import Problem, bad

HEADER = "x-request-timeout"
MOST_SECONDS = 86400.0


def seconds_of(value: str) -> float:
    """The header's value as a time. Raises ``Problem``."""
    try:
        seconds = float(value.strip().removesuffix("s"))
    except ValueError:
        seconds = -1.0
    if not (isfinite(seconds) and 0 < seconds <= MOST_SECONDS):
        raise bad(
            f"'{HEADER}' must be seconds, more than 0 and at most {MOST_SECONDS:.0f}.", HEADER
        )
    return seconds


def over(seconds: float) -> Problem:
    """The caller waits no longer."""
    return Problem(
        504,
        f"The request did not end within the {seconds:g} s that '{HEADER}' gives it.",
        "server_error",
        "deadline_exceeded",
    )
