"""What do the ranks say about themselves?

``ProgressReport`` is what rank 0's agent answers while it runs, ``TerminationMessage`` the last words of a rank in
its pod's termination message. Both come from a container that may run a user's code, so nothing
in them is trusted to have the right type: what cannot be read is absent.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from json import loads
from math import isfinite
from typing import Any, Self

from preamar.core.timestamps import moment

LONGEST_SENTENCE = 1000  # characters of other people's words that we repeat in a status


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint that was read back and verified before anybody spoke of it."""

    step: int
    uri: str = ""
    at: datetime | None = None
    bytes: int | None = None
    manifest_hash: str = ""
    world_size: int | None = None
    """The ranks that wrote it; None where that was not said."""

    @classmethod
    def of(cls, body: object) -> Self | None:
        if not isinstance(body, Mapping):
            return None
        step = _count(body.get("step"))
        if step is None:
            return None
        return cls(
            step=step,
            uri=_words(body.get("uri")),
            at=moment(body.get("at")),
            bytes=_count(body.get("bytes")),
            manifest_hash=_words(body.get("manifestHash")),
            world_size=_count(body.get("worldSize")) or None,
        )


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of one attempt by what rank 0 did. ``saved`` is the part of ``steps`` that a verified
    checkpoint holds; ``other`` are the evaluation and the export at the end."""

    startup: float = 0.0
    steps: float = 0.0
    saved: float = 0.0
    checkpoint: float = 0.0
    other: float = 0.0

    @classmethod
    def of(cls, body: object) -> Self | None:
        if not isinstance(body, Mapping):
            return None
        parts = {name: _positive(body.get(name)) or 0.0 for name in cls.__slots__}
        return cls(**parts | {"saved": min(parts["saved"], parts["steps"])})


@dataclass(frozen=True, slots=True)
class Resumed:
    """What the gate saw before the first step after a checkpoint. ``before`` are the ranks that
    wrote it, ``delta`` nats per token; ``pause`` is known after the first step."""

    step: int
    before: int
    tensors: int
    delta: float
    pause: float | None = None

    @classmethod
    def of(cls, body: object) -> Self | None:
        if not isinstance(body, Mapping):
            return None
        step, before = _count(body.get("step")), _count(body.get("from"))
        tensors, delta = _count(body.get("tensors")), _real(body.get("lossDelta"))
        if step is None or before is None or tensors is None or delta is None:
            return None
        return cls(step, before, tensors, delta, _real(body.get("pauseSeconds")))


@dataclass(frozen=True, slots=True)
class ProgressReport:
    """The answer of ``GET /progress``. ``attempt`` guards against a late answer of an old gang."""

    attempt: int
    state: str = ""
    step: int | None = None
    steps: int | None = None
    loss: float | None = None
    samples_per_second: float | None = None
    data_wait_ratio: float | None = None
    consumed: int | None = None
    checkpoint: Saved | None = None
    resumed_from: int | None = None
    seconds: Spent | None = None
    save_seconds: float | None = None
    interconnect: tuple[str, str, str] | None = None
    """The way that was expected, the one that was found, and what says so."""
    every_seconds: float | None = None
    """Between checkpoints, as the trainer set it for schedule Auto."""
    skipped: int = 0
    duplicated: int = 0
    resumed: Resumed | None = None

    @classmethod
    def of(cls, body: object) -> Self | None:
        """None where the answer is not one that an agent gives."""
        if not isinstance(body, Mapping):
            return None
        attempt = _count(body.get("attempt"))
        if attempt is None:
            return None
        return cls(
            attempt=attempt,
            state=_words(body.get("state")),
            step=_count(body.get("step")),
            steps=_count(body.get("steps")),
            loss=_real(body.get("loss")),
            samples_per_second=_real(body.get("samplesPerSecond")),
            data_wait_ratio=_share(body.get("dataWaitRatio")),
            consumed=_count(body.get("consumed")),
            checkpoint=Saved.of(body.get("checkpoint")),
            resumed_from=_count(body.get("resumedFrom")),
            seconds=Spent.of(body.get("seconds")),
            save_seconds=_positive(body.get("saveSeconds")),
            interconnect=_interconnect(body.get("interconnect")),
            every_seconds=_positive(body.get("everySeconds")),
            skipped=_count(body.get("skipped")) or 0,
            duplicated=_count(body.get("duplicated")) or 0,
            resumed=Resumed.of(body.get("resumed")),
        )


@dataclass(frozen=True, slots=True)
class TerminationMessage:
    """The termination message of one rank."""

    outcome: str
    rank: int | None = None
    step: int | None = None
    consumed: int | None = None
    checkpoint: Saved | None = None
    exported: str = ""
    evaluation: tuple[str, str] | None = None
    """Held-out loss and that of a unigram model, in nats per token, as decimals."""
    failure: str = ""
    explanation: str = ""
    failed_step: int | None = None
    """The step in which it failed, from 1; None before the first and after the last."""
    waits: bool = False
    """Whether it only waited for another rank, so that the cause is elsewhere."""
    seconds: Spent | None = None
    save_seconds: float | None = None
    resumed_from: int | None = None
    skipped: int = 0
    duplicated: int = 0
    resumed: Resumed | None = None

    @classmethod
    def of(cls, message: str) -> Self | None:
        """None where the message is not ours (a kubelet's log tail, nothing at all)."""
        try:
            body: Any = loads(message)
        except (ValueError, RecursionError):
            return None
        if not isinstance(body, Mapping) or not _words(body.get("outcome")):
            return None
        return cls(
            outcome=_words(body.get("outcome")),
            rank=_count(body.get("rank")),
            step=_count(body.get("step")),
            consumed=_count(body.get("consumed")),
            checkpoint=Saved.of(body.get("checkpoint")),
            exported=_words(body.get("exported")),
            evaluation=_evaluation(body.get("evaluation")),
            failure=_words(body.get("class")),
            explanation=_words(body.get("explanation")),
            failed_step=_count(body.get("failedStep")),
            waits=body.get("waits") is True,
            seconds=Spent.of(body.get("seconds")),
            save_seconds=_positive(body.get("saveSeconds")),
            resumed_from=_count(body.get("resumedFrom")),
            skipped=_count(body.get("skipped")) or 0,
            duplicated=_count(body.get("duplicated")) or 0,
            resumed=Resumed.of(body.get("resumed")),
        )


def last_words(messages: Iterable[str]) -> list[TerminationMessage | None]:
    """What each of these termination messages says."""
    return [TerminationMessage.of(message) for message in messages]


def _interconnect(body: object) -> tuple[str, str, str] | None:
    if not isinstance(body, Mapping):
        return None
    told = tuple(_words(body.get(key)) for key in ("expected", "used", "detail"))
    return (told[0][:64], told[1][:64], told[2]) if told[0] and told[1] else None


def _evaluation(body: object) -> tuple[str, str] | None:
    if not isinstance(body, Mapping):
        return None
    loss, unigram = _real(body.get("loss")), _real(body.get("unigram"))
    return None if loss is None or unigram is None else (f"{loss:.6f}", f"{unigram:.6f}")


def _words(value: object) -> str:
    return value[:LONGEST_SENTENCE] if isinstance(value, str) else ""


def _count(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value < 2**53 else None


def _share(value: object) -> float | None:
    found = _real(value)
    return None if found is None else min(1.0, max(0.0, found))


def _real(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):  # no number, or an integer beyond any float
        return None
    return found if isfinite(found) else None


def _positive(value: object) -> float | None:
    found = _real(value)
    return None if found is None or not 0 <= found < 2**53 else found
