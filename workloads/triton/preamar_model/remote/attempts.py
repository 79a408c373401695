"""How often is a place asked again, and what is told when it does not answer?

What names or credentials get wrong is the user's and told at once; everything else is tried a few
times with growing pauses, and is the world's fault in the end.
"""

import time
from collections.abc import Callable
from typing import TypeVar

from obstore import exceptions

from preamar_model.refusal import Refusal, RefusalReason

T = TypeVar("T")
TRIES = 5
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
_USERS = (
    (
        (exceptions.NotFoundError, FileNotFoundError),
        RefusalReason.MODEL_NOT_FOUND,
        "does not exist",
    ),
    (
        (exceptions.PermissionDeniedError, PermissionError),
        RefusalReason.SOURCE_DENIED,
        "may not be read with these credentials",
    ),
    (
        exceptions.UnauthenticatedError,
        RefusalReason.SOURCE_DENIED,
        "asks for credentials, or does not accept these: see spec.model.secretName",
    ),
    (exceptions.InvalidPathError, RefusalReason.MODEL_INVALID, "has a name that cannot be used"),
)


class SourceUnreachable(Exception):
    """The place did not answer as it should, in all tries."""


class TornDownload(Exception):
    """An answer ended before its end."""


def tried(what: str, act: Callable[[], T], refused: Callable[[], str] = str) -> T:
    """What `act` returns. Raises `Refusal` for what the user can mend, `SourceUnreachable` otherwise.
    ``refused`` says why the gate let nobody through; empty where it did."""
    for left in reversed(range(TRIES)):
        try:
            return act()
        except exceptions.PreconditionError:
            raise  # the file has changed: whoever asked knows what that means
        except (exceptions.BaseError, TornDownload, OSError) as error:
            for kind, reason, words in _USERS:
                if isinstance(error, kind):
                    raise Refusal(reason, f"{what} {words}.") from error
            why = refused()
            if why:
                raise closed(what, why) from error
            if not left:
                said = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
                raise SourceUnreachable(
                    f"{what} could not be read in {TRIES} tries: {said}"
                ) from error
            time.sleep(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (TRIES - 1 - left)))
    raise AssertionError("the last try returns or raises")


def closed(what: str, why: str) -> Refusal:
    """A place that the installation does not allow."""
    return Refusal(
        RefusalReason.SOURCE_DENIED,
        f"{what} is not read: {why}. Whoever runs Preamar can allow a host by models.allowedHosts.",
    )
