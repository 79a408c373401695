"""What is told of a place that does not answer, or that may not be asked?

What the user can mend is a `Refusal` with a reason; everything else is the world's fault, after some
tries.
"""

from collections.abc import Callable
from typing import TypeVar

from preamar_storage import attempts
from preamar_storage.attempts import StoreRefused, StoreUnreachable, UserFault

from preamar_model.refusal import Refusal, RefusalReason

T = TypeVar("T")
_REASONS = {
    UserFault.ABSENT: RefusalReason.MODEL_NOT_FOUND,
    UserFault.FORBIDDEN: RefusalReason.SOURCE_DENIED,
    UserFault.UNAUTHENTICATED: RefusalReason.SOURCE_DENIED,
    UserFault.UNNAMEABLE: RefusalReason.MODEL_INVALID,
}
_WORDS = {
    UserFault.UNAUTHENTICATED: "asks for credentials, or does not accept these: see spec.model.secretName"
}


class SourceUnreachable(Exception):
    """The place did not answer as it should, in all tries."""


def tried(what: str, act: Callable[[], T], refused: Callable[[], str] = str) -> T:
    """What `act` returns. Raises `Refusal` for what the user can mend, `SourceUnreachable` otherwise.
    ``refused`` says why the gate let nobody through; empty where it did."""

    def failed() -> None:
        if why := refused():
            raise closed(what, why)

    try:
        return attempts.tried(act, failed)
    except StoreRefused as error:
        words = _WORDS.get(error.fault, error.fault)
        raise Refusal(_REASONS[error.fault], f"{what} {words}.") from error
    except StoreUnreachable as error:
        raise SourceUnreachable(f"{what} {error}") from error


def closed(what: str, why: str) -> Refusal:
    """A place that the installation does not allow."""
    return Refusal(
        RefusalReason.SOURCE_DENIED,
        f"{what} is not read: {why}. Whoever runs Preamar can allow a host by models.allowedHosts.",
    )
