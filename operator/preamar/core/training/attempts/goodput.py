"""Where did a job's time go, from its first attempt to now?

Six uses whose seconds add up to wall time; time of suspension is apart. What earlier attempts used
is written with each attempt, so that only the last one must be judged, from its pods and from what
rank 0 measured. Where those are gone, the status has what was known; nothing is kept by us.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from json import dumps, loads
from typing import Any, Self

from preamar.api.training_status import Goodput
from preamar.core.timestamps import moment, stamp
from preamar.core.training.progress import Spent

USES = ("useful", "startup", "checkpoint", "resize", "rollback", "waiting")


@dataclass(frozen=True, slots=True)
class Ledger:
    """Seconds by use up to ``until``. ``suspended`` is no use, ``unsaved`` the part of ``useful``
    that would be lost now, ``faults`` the failures so far and ``step`` the last that counts.
    ``paused`` is suspension after ``until``, known when the next attempt was made."""

    useful: float = 0.0
    startup: float = 0.0
    checkpoint: float = 0.0
    resize: float = 0.0
    rollback: float = 0.0
    waiting: float = 0.0
    suspended: float = 0.0
    unsaved: float = 0.0
    paused: float = 0.0
    faults: int = 0
    step: int = 0
    until: datetime | None = None

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """As ``str`` wrote it; None where it did not."""
        try:
            found = loads(text)
            until = moment(found.pop("until", None))
            parts = {key: value for key, value in found.items() if key in cls.__slots__}
            return cls(**parts, until=until) if until and _sound(parts.values()) else None
        except (ValueError, AttributeError, TypeError):
            return None

    @classmethod
    def told(cls, status: Goodput | None) -> Self | None:
        """As the status has it."""
        until = moment(status.at) if status else None
        if status is None or until is None:
            return None
        return cls(
            useful=status.useful_seconds,
            startup=status.startup_seconds,
            checkpoint=status.checkpoint_seconds,
            resize=status.resize_seconds,
            rollback=status.rollback_seconds,
            waiting=status.waiting_seconds,
            suspended=status.suspended_seconds,
            unsaved=min(status.unsaved_seconds, status.useful_seconds),
            faults=status.faults,
            until=until,
        )

    def __str__(self) -> str:
        words: dict[str, Any] = {
            key: round(value, 3) for key, value in asdict(self).items() if key != "until" and value
        }
        return dumps(words | {"until": stamp(self.until) if self.until else ""}, sort_keys=True)

    @property
    def wall(self) -> float:
        """Seconds of all uses."""
        return float(sum(getattr(self, use) for use in USES))

    @property
    def up(self) -> float:
        """Seconds in which a gang stood that could fail."""
        return self.wall - self.waiting

    def plus(self, **seconds: float) -> "Ledger":
        """With more of some uses."""
        return replace(self, **{use: getattr(self, use) + more for use, more in seconds.items()})

    def lost(self) -> "Ledger":
        """After a failure: what no checkpoint holds was in vain."""
        kept = self.plus(useful=-self.unsaved, rollback=self.unsaved)
        return replace(kept, unsaved=0.0)

    def resumed(self, step: int | None) -> "Ledger":
        """After going on from an earlier step than the last that counted, as past a torn
        checkpoint: its share of the useful time was in vain too."""
        if step is None or step >= self.step:
            return self
        vain = self.useful * (self.step - step) / self.step
        return replace(self.plus(useful=-vain, rollback=vain), step=step)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt as intervals. ``ready`` is when the last of its workers had started, None if that
    is not known; ``spent`` what rank 0 measured; ``state`` what it does now."""

    start: datetime
    until: datetime
    ready: datetime | None = None
    spent: Spent | None = None
    state: str = ""
    over: bool = False
    failed: bool = False
    resizing: bool = False
    paused: float = 0.0


def with_attempt(base: Ledger, attempt: Attempt) -> Ledger:
    """The ledger after an attempt that spoke or never started; never a negative part."""
    left = max(0.0, (attempt.until - attempt.start).total_seconds() - attempt.paused)
    spent = attempt.spent or Spent()
    measured = spent.startup + spent.steps + spent.checkpoint + spent.other
    if attempt.ready is not None:
        begun = (attempt.ready - attempt.start).total_seconds() - attempt.paused
        waiting = min(max(0.0, begun), left)
    else:
        waiting = max(0.0, left - measured)
    left -= waiting
    parts = {}
    for use in ("startup", "checkpoint", "other", "steps"):
        parts[use] = min(getattr(spent, use), left)
        left -= parts[use]
    unsaved = max(0.0, parts["steps"] - spent.saved)
    useful = parts["steps"] + parts["other"]
    startup, checkpoint, rollback = parts["startup"], parts["checkpoint"], 0.0
    # What rank 0 did not measure: since it last spoke, or from its end to that of the pods.
    if attempt.failed and attempt.spent:
        rollback += left
    elif attempt.over or attempt.spent is None or attempt.state in {"", "Starting"}:
        startup += left
    elif attempt.state == "Saving":
        checkpoint += left
    else:
        useful, unsaved = useful + left, unsaved + left
    resize = 0.0
    if attempt.resizing:
        resize, waiting, startup = waiting + startup, 0.0, 0.0
    after = base.plus(
        useful=useful,
        startup=startup,
        checkpoint=checkpoint,
        resize=resize,
        rollback=rollback,
        waiting=waiting,
        suspended=attempt.paused,
    )
    after = replace(after, unsaved=unsaved, paused=0.0, until=attempt.until)
    return after.lost() if attempt.failed else after


def from_memory(base: Ledger, known: Ledger, until: datetime, *, failed: bool) -> Ledger:
    """The ledger after an attempt of which nothing is left but what the status knew of it."""
    end = max(until, known.until or until)
    gap = (end - (known.until or until)).total_seconds()
    after = replace(known, faults=base.faults, step=base.step, until=end)
    if failed:
        return after.lost().plus(rollback=gap)
    return after.plus(useful=gap, unsaved=gap)


def rested(ledger: Ledger, until: datetime, paused: float, *, resizing: bool = False) -> Ledger:
    """The ledger after a while without an attempt, of which so much was suspension."""
    gap = max(0.0, (until - (ledger.until or until)).total_seconds())
    paused = min(max(0.0, paused), gap)
    use = "resize" if resizing else "waiting"
    after = ledger.plus(**{use: gap - paused}, suspended=paused)
    return replace(after, until=max(until, ledger.until or until))


def told(ledger: Ledger) -> dict[str, Any]:
    """As the status says it: whole seconds that add up to wall time, by the largest remainders."""
    exact = {use: max(0.0, getattr(ledger, use)) for use in USES}
    whole = {use: int(value) for use, value in exact.items()}
    short = round(sum(exact.values())) - sum(whole.values())
    for use in sorted(USES, key=lambda use: whole[use] - exact[use])[: max(0, short)]:
        whole[use] += 1
    words: dict[str, Any] = {f"{use}Seconds": whole[use] for use in USES}
    return words | {
        "suspendedSeconds": round(ledger.suspended),
        "unsavedSeconds": min(round(ledger.unsaved), whole["useful"]),
        "faults": ledger.faults,
        "at": stamp(ledger.until) if ledger.until else None,
    }


def ratio(status: Goodput) -> float | None:
    """The share of wall time that was useful; None before any has passed."""
    wall = sum(getattr(status, f"{use}_seconds") for use in USES)
    return status.useful_seconds / wall if wall else None


def _sound(values: Iterable[Any]) -> bool:
    return all(isinstance(v, int | float) and 0 <= v < 2**53 for v in values)
