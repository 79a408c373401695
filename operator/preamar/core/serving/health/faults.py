"""What keeps the pods of a service from being ready, in a sentence that a person can act on?

The pods of the present revision are asked in an order from the surest cause to the vaguest. What
may heal within seconds is given a grace first; the answer then says when to look again.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from preamar.core.pods import ContainerView, Ended, PodView
from preamar.core.serving.pods.memory import REFUSED, exceeded, sentence
from preamar.core.serving.pods.readiness import CRASHES
from preamar.core.stuck import Judge, misconfigured, unschedulable, without_image

LONGEST_TAIL = 600


class Fault(StrEnum):
    """Why pods are not ready. The builder's own reasons come first."""

    MODEL_NOT_FOUND = "ModelNotFound"
    FORMAT_UNSUPPORTED = "FormatUnsupported"
    MODEL_INVALID = "ModelInvalid"
    DIGEST_MISMATCH = "DigestMismatch"
    CODE_NOT_TRUSTED = "CodeNotTrusted"
    SOURCE_DENIED = "SourceDenied"
    ARTEFACT_MISSING = "ArtefactMissing"
    IMAGE = "ImageUnavailable"
    CONFIG = "ContainerConfigInvalid"
    MEMORY = "OutOfMemory"
    PREPARATION = "ModelPreparationFails"
    CRASH = "ModelCrashes"
    UNSCHEDULABLE = "Unschedulable"


BUILDERS = frozenset(
    {
        Fault.MODEL_NOT_FOUND,
        Fault.FORMAT_UNSUPPORTED,
        Fault.MODEL_INVALID,
        Fault.DIGEST_MISMATCH,
        Fault.CODE_NOT_TRUSTED,
        Fault.SOURCE_DENIED,
        Fault.ARTEFACT_MISSING,
    }
)


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault with its sentence. ``in_grace`` seconds are left until it counts; None: it does.
    ``container``: whose end it is, if it is one's."""

    fault: Fault
    message: str
    in_grace: float | None = None
    container: ContainerView | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """What pods were made with, as far as it tells causes apart."""

    gpu: bool = False
    batch: int = 1


Found = Callable[[PodView, datetime], Finding | None]


def find(down: Iterable[PodView], now: datetime, made: Made) -> Finding | None:
    """The surest finding over all pods that are down; one that counts before one in grace."""
    found = [
        finding
        for judge in judges(made)
        for pod in down
        for finding in (judge(pod, now),)
        if finding is not None
    ]
    counting = [finding for finding in found if finding.in_grace is None]
    return next(iter(counting or found), None)


def _refused_by_builder(pod: PodView, _now: datetime) -> Finding | None:
    model = pod.container("model")
    end = model.last_end if model else None
    if end is None or end.exit_code != REFUSED:
        return None
    reason, sentence = _explained(end)
    return Finding(reason, sentence)


def _explained(end: Ended) -> tuple[Fault, str]:
    reason, sentence = end.words.get("reason"), end.words.get("message")
    fault = Fault(reason) if isinstance(reason, str) and reason in BUILDERS else Fault.MODEL_INVALID
    if not isinstance(sentence, str) or not sentence:
        sentence = f"The model cannot be prepared: {_tail(end.message)}"
    return fault, sentence


def out_of_memory(made: Made) -> Found:
    """Finds the container that ran out of memory, and says of which."""

    def found(pod: PodView, _now: datetime) -> Finding | None:
        for c in pod.containers:
            memory = exceeded(c, gpu=made.gpu)
            if memory is not None:
                words = sentence(memory, c, _times(c), made.batch)
                return Finding(Fault.MEMORY, words, container=c)
        return None

    return found


def crashing(pod: PodView, _now: datetime) -> Finding | None:
    """The container that ends again and again."""
    for c in pod.containers:
        end = c.last_end
        if end is None or (end.exit_code == 0 and c.init):
            continue
        if c.restarts < CRASHES and c.waiting != "CrashLoopBackOff":
            continue
        said = f" It said: {_tail(end.message)}" if end.message else ""
        if c.init:
            return Finding(
                Fault.PREPARATION,
                f"Preparing the model fails with exit code {end.exit_code} ({_times(c)}) and is "
                f"tried again.{said}",
                container=c,
            )
        return Finding(
            Fault.CRASH,
            f"The model server ends with exit code {end.exit_code} ({_times(c)}) while it loads "
            f"or serves the model.{said}",
            container=c,
        )
    return None


def _not_started(judge: Judge) -> Found:
    def found(pod: PodView, now: datetime) -> Finding | None:
        cause = judge(pod, now)
        return Finding(Fault(cause.cause), cause.message, cause.in_grace) if cause else None

    return found


def judges(made: Made) -> tuple[Found, ...]:
    """The surest first."""
    return (
        _refused_by_builder,
        _not_started(without_image),
        _not_started(misconfigured),
        out_of_memory(made),
        crashing,
        _not_started(unschedulable),
    )


def _times(container: ContainerView) -> str:
    return "once" if container.restarts <= 1 else f"{container.restarts} times"


def _tail(message: str) -> str:
    words = " ".join(message.split())
    return words if len(words) <= LONGEST_TAIL else "…" + words[-LONGEST_TAIL:]
