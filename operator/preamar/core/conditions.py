"""When did a condition change, and is that worth an event?

Decisions say what is true now as ``Verdict``s. Here they meet what was said before: the time of a
transition moves only when the status flips, and an event is told once for each transition.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple, Protocol

from preamar.core.plan import Event
from preamar.core.timestamps import moment, stamp

LONGEST = 1024  # characters; a status is read by people, and the API server bounds a condition


class Verdict(NamedTuple):
    """What is true now, in the words of one condition."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str


class Before(Protocol):
    """A condition as it was read from the resource."""

    @property
    def type(self) -> str: ...
    @property
    def status(self) -> Any: ...
    @property
    def reason(self) -> str: ...
    @property
    def last_transition_time(self) -> Any: ...


def merge(
    before: Iterable[Before], now_true: Sequence[Verdict], generation: int, now: datetime
) -> list[dict[str, Any]]:
    """The conditions to write, as JSON, in the order given."""
    old = {condition.type: condition for condition in before}
    kept = [
        previous.last_transition_time
        if (previous := old.get(verdict.type)) is not None and previous.status == verdict.status
        else None
        for verdict in now_true
    ]
    since = [stamp(moment(time) or now) for time in kept]
    return [
        {
            "type": verdict.type,
            "status": str(verdict.status),
            "reason": str(verdict.reason),
            "message": shortened(verdict.message),
            "observedGeneration": generation,
            "lastTransitionTime": at,
        }
        for verdict, at in zip(now_true, since, strict=True)
    ]


def transitions(
    before: Iterable[Before], now_true: Sequence[Verdict], told: frozenset[str], bad: frozenset[str]
) -> tuple[Event, ...]:
    """An event for each condition in ``told`` whose status or reason is new; a warning where the
    reason is in ``bad``. A condition that starts out False or Unknown is no news."""
    old = {condition.type: (str(condition.status), condition.reason) for condition in before}
    events: dict[tuple[str, str], Event] = {}
    for verdict in now_true:
        if verdict.type not in told:
            continue
        was = old.get(verdict.type)
        if was == (verdict.status, verdict.reason):
            continue
        if was is None and verdict.status != "True" and verdict.reason not in bad:
            continue
        kind: Literal["Normal", "Warning"] = "Warning" if verdict.reason in bad else "Normal"
        event = Event(str(verdict.reason), shortened(verdict.message), kind)
        events.setdefault((event.reason, event.message), event)
    return tuple(events.values())


def shortened(message: str) -> str:
    """A message that fits; the end is cut, because the cause is said first."""
    return message if len(message) <= LONGEST else message[: LONGEST - 1] + "…"
