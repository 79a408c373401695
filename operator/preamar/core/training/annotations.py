"""What does an attempt's Job say about changes of size, and about the attempts before it?

Notes are annotations, most of them JSON, so that no crash of ours can forget one: the order to stop,
which is put on a Job that runs; the resize that an attempt carries out, the wish that was given up
before it, and what came before, which are written with the attempt in one step. What cannot be read
is absent. ``AttemptAnnotations`` are all of a Job, read once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from json import dumps, loads
from typing import Any, Self

from preamar.core.timestamps import moment, stamp
from preamar.protocol.labels import (
    FEWER,
    LEDGER,
    ORDER,
    REFUSED,
    RESIZE,
    RESIZED,
    RESTARTS,
    STOP,
    STREAK,
)


@dataclass(frozen=True, slots=True)
class ResizeRequest:
    """A wish for another number of workers. ``generation`` is that of the spec which wished it,
    ``at`` when it was taken up; ``consumed`` the samples at the stop before it, if that is known."""

    before: int
    to: int
    reason: str
    at: datetime
    generation: int
    consumed: int | None = None

    @classmethod
    def of(cls, annotations: Mapping[str, str], name: str) -> Self | None:
        if name not in annotations:
            return None
        told = words(annotations[name])
        before, to, at = count(told.get("from")), count(told.get("to")), moment(told.get("at"))
        generation = count(told.get("generation"))
        if before is None or to is None or at is None or generation is None:
            return None
        reason = told.get("reason")
        consumed = count(told.get("consumed"))
        return cls(before, to, reason if isinstance(reason, str) else "", at, generation, consumed)

    def text(self) -> str:
        words = {
            "from": self.before,
            "to": self.to,
            "reason": self.reason,
            "at": stamp(self.at),
            "generation": self.generation,
            **({} if self.consumed is None else {"consumed": self.consumed}),
        }
        return dumps(words, sort_keys=True)


@dataclass(frozen=True, slots=True)
class RefusedResize:
    """A wish that failed, and why. It is not tried again until the spec is edited."""

    to: int
    generation: int
    reason: str
    message: str

    @classmethod
    def of(cls, annotations: Mapping[str, str]) -> Self | None:
        told = words(annotations.get(REFUSED))
        to, generation = count(told.get("to")), count(told.get("generation"))
        if to is None or generation is None:
            return None
        reason, message = told.get("reason"), told.get("message")
        return cls(
            to,
            generation,
            reason if isinstance(reason, str) else "",
            message if isinstance(message, str) else "",
        )

    def text(self) -> str:
        words = {
            "to": self.to,
            "generation": self.generation,
            "reason": self.reason,
            "message": self.message,
        }
        return dumps(words, sort_keys=True)


@dataclass(frozen=True, slots=True)
class DegradedSize:
    """Why an attempt has fewer workers than were asked for."""

    wish: int
    message: str

    @classmethod
    def of(cls, annotations: Mapping[str, str]) -> Self | None:
        found = words(annotations.get(FEWER))
        wish, message = count(found.get("wish")), found.get("message")
        if wish is None:
            return None
        return cls(wish, message if isinstance(message, str) else "")

    def text(self) -> str:
        return dumps({"wish": self.wish, "message": self.message}, sort_keys=True)


@dataclass(frozen=True, slots=True)
class AttemptAnnotations:
    """All that an attempt's Job says. ``order`` is what it must stop for, ``resize`` what it carries
    out, ``refused`` what was given up before it; ``digest`` is of what it was told to do. Numbers are
    None where nothing is said."""

    order: ResizeRequest | None = None
    resize: ResizeRequest | None = None
    refused: RefusedResize | None = None
    fewer: DegradedSize | None = None
    resized: int | None = None
    restarts: int | None = None
    streak: str = ""
    ledger: str = ""
    digest: str | None = None

    @classmethod
    def of(cls, annotations: Mapping[str, str]) -> Self:
        resized, restarts = annotations.get(RESIZED, ""), annotations.get(RESTARTS, "")
        return cls(
            order=ResizeRequest.of(annotations, STOP),
            resize=ResizeRequest.of(annotations, RESIZE),
            refused=RefusedResize.of(annotations),
            fewer=DegradedSize.of(annotations),
            resized=int(resized) if resized.isdecimal() else None,
            restarts=int(restarts) if restarts.isdecimal() else None,
            streak=annotations.get(STREAK, ""),
            ledger=annotations.get(LEDGER, ""),
            digest=annotations.get(ORDER),
        )


def words(text: str | None) -> Mapping[str, Any]:
    """The mapping that a note holds; empty where it cannot be read."""
    try:
        told: Any = loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, Mapping) else {}


def count(value: object) -> int | None:
    """A whole number of at least 0 that JSON carries exactly; None of anything else."""
    whole = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53
    return value if whole else None  # type: ignore[return-value]
