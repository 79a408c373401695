"""How often is an object store asked again, and whose fault is it when it does not answer?

What names or credentials get wrong is the user's and told at once; everything else is tried a few
times with growing pauses, and is the world's fault in the end. Whose words tell of it, each image
decides by itself.
"""

import time
from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

from obstore import exceptions

T = TypeVar("T")
PAUSES = (0.5, 1.0, 2.0, 4.0)
"""Seconds between one try and the next: there is one try more."""


class UserFault(StrEnum):
    """What the user can mend, as what is said of the object."""

    ABSENT = "does not exist"
    FORBIDDEN = "may not be read with these credentials"
    UNAUTHENTICATED = "does not accept these credentials"
    UNNAMEABLE = "has a name that cannot be used"


_FAULTS: tuple[tuple[UserFault, tuple[type[Exception], ...]], ...] = (
    (UserFault.ABSENT, (exceptions.NotFoundError, FileNotFoundError)),
    (UserFault.FORBIDDEN, (exceptions.PermissionDeniedError, PermissionError)),
    (UserFault.UNAUTHENTICATED, (exceptions.UnauthenticatedError,)),
    (UserFault.UNNAMEABLE, (exceptions.InvalidPathError,)),
)


class TornAnswer(Exception):
    """An answer ended before its end."""


class StoreRefused(Exception):
    """The store will answer alike until the user mends what `fault` says."""

    def __init__(self, fault: UserFault) -> None:
        super().__init__(str(fault))
        self.fault = fault


class StoreUnreachable(Exception):
    """The store did not answer as it should, in all tries; the message says so of the object."""


def tried(act: Callable[[], T], failed: Callable[[], None] = lambda: None) -> T:
    """What `act` returns. Raises `StoreRefused` and `StoreUnreachable`; obstore's PreconditionError
    goes through, as whoever set the condition knows what it means. ``failed`` is called after each
    try that is not the user's fault, and may raise what ends them."""
    for pause in (*PAUSES, None):
        try:
            return act()
        except exceptions.PreconditionError:
            raise
        except (exceptions.BaseError, TornAnswer, OSError) as error:
            for fault, kinds in _FAULTS:
                if isinstance(error, kinds):
                    raise StoreRefused(fault) from error
            failed()
            if pause is None:
                tries = f"{len(PAUSES) + 1} tries"
                raise StoreUnreachable(
                    f"could not be read in {tries}: {first_line(error)}"
                ) from error
            time.sleep(pause)
    raise AssertionError("the last try returns or raises")


def first_line(error: BaseException) -> str:
    """What an error says, short enough for a sentence; its name where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
