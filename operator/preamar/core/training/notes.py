"""What does an attempt's Job say about changes of size?

Notes are annotations in JSON, so that no crash of ours can forget one: the order to stop, which is
put on a Job that runs; the resize that an attempt carries out, and the wish that was given up
before it, which are written with the attempt in one step. What cannot be read is absent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from json import dumps, loads
from typing import Any, Self

from preamar.core.moments import moment, stamp

STOP = "preamar.dev/stop"
"""Annotation of an attempt that must stop for another size."""
RESIZE = "preamar.dev/resize"
"""Annotation of an attempt, or of a conversion, that takes a checkpoint to another size."""
REFUSED = "preamar.dev/refused"
"""Annotation of an attempt that went back to the size before, because a resize failed."""
RESIZED = "preamar.dev/resized"
"""Annotation of an attempt: how many before it, or it itself, began at another size. No limit
counts those."""


@dataclass(frozen=True, slots=True)
class Resize:
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
        words = _map(annotations.get(name))
        before, to, at = _count(words.get("from")), _count(words.get("to")), moment(words.get("at"))
        generation = _count(words.get("generation"))
        if before is None or to is None or at is None or generation is None:
            return None
        reason = words.get("reason")
        consumed = _count(words.get("consumed"))
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
class Refused:
    """A wish that failed, and why. It is not tried again until the spec is edited."""

    to: int
    generation: int
    reason: str
    message: str

    @classmethod
    def of(cls, annotations: Mapping[str, str]) -> Self | None:
        words = _map(annotations.get(REFUSED))
        to, generation = _count(words.get("to")), _count(words.get("generation"))
        if to is None or generation is None:
            return None
        reason, message = words.get("reason"), words.get("message")
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


def _map(text: str | None) -> Mapping[str, Any]:
    try:
        words: Any = loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return words if isinstance(words, Mapping) else {}


def _count(value: object) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53
    return value if whole else None  # type: ignore[return-value]
