"""What keeps the pods of a service from being ready, in a sentence that a person can act on?

The pods of the present revision are asked in an order from the surest cause to the vaguest. What
may heal within seconds is given a grace first; the answer then says when to look again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from preamar.core.pods import ContainerView, Ended, PodView
from preamar.core.serving.pods.memory import REFUSED, exceeded, sentence
from preamar.core.serving.pods.readiness import CRASHES
from preamar.core.stuck import Stuck, misconfigured, unschedulable, without_image

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


def find(down: Sequence[PodView], now: datetime, made: Made) -> Finding | None:
    """The surest finding over all pods that are down; one that counts before one in grace."""
    image = [without_image(pod, now) for pod in down]
    configuration = [misconfigured(pod, now) for pod in down]
    place = [unschedulable(pod, now) for pod in down]
    surest_first = (
        *refused_by_builder(down),
        *_not_started(image),
        *_not_started(configuration),
        *out_of_memory(down, made),
        *crashing(down),
        *_not_started(place),
    )
    counting = [finding for finding in surest_first if finding.in_grace is None]
    return next(iter(counting or surest_first), None)


def refused_by_builder(pods: Iterable[PodView]) -> list[Finding]:
    """What a builder says of a model that it cannot or may not take."""
    models = [pod.container("model") for pod in pods]
    ends = [model.last_end for model in models if model is not None]
    refusals = [end for end in ends if end is not None and end.exit_code == REFUSED]
    explained = [_explained(end, end.words) for end in refusals]
    return [Finding(reason, sentence) for reason, sentence in explained]


def _explained(end: Ended, words: Mapping[str, Any]) -> tuple[Fault, str]:
    reason, sentence = words.get("reason"), words.get("message")
    fault = Fault(reason) if isinstance(reason, str) and reason in BUILDERS else Fault.MODEL_INVALID
    if not isinstance(sentence, str) or not sentence:
        sentence = f"The model cannot be prepared: {_tail(end.message)}"
    return fault, sentence


def out_of_memory(pods: Iterable[PodView], made: Made) -> list[Finding]:
    """For each pod the container that ran out of memory, if one did, and of which."""
    containers = _containers(pods)
    memories = [exceeded(c, gpu=made.gpu) for _, c in containers]
    told = [
        None
        if memory is None
        else Finding(Fault.MEMORY, sentence(memory, c, _times(c), made.batch), container=c)
        for (_, c), memory in zip(containers, memories, strict=True)
    ]
    return _first_of_each(containers, told)


def crashing(pods: Iterable[PodView]) -> list[Finding]:
    """For each pod the container that ends again and again, if one does."""
    containers = _containers(pods)
    ends = [c.last_end for _, c in containers]
    crashes = [_crash(c, end) for (_, c), end in zip(containers, ends, strict=True)]
    return _first_of_each(containers, crashes)


def _crash(c: ContainerView, end: Ended | None) -> Finding | None:
    if end is None or (end.exit_code == 0 and c.init):
        return None
    if c.restarts < CRASHES and c.waiting != "CrashLoopBackOff":
        return None
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


def _not_started(causes: Iterable[Stuck | None]) -> list[Finding]:
    return [Finding(Fault(c.cause), c.message, c.in_grace) for c in causes if c is not None]


def _containers(pods: Iterable[PodView]) -> list[tuple[int, ContainerView]]:
    """All containers, each with the number of its pod."""
    return [(number, c) for number, pod in enumerate(pods) for c in pod.containers]


def _first_of_each(
    containers: Iterable[tuple[int, ContainerView]], findings: Iterable[Finding | None]
) -> list[Finding]:
    """The first finding of each pod."""
    first: dict[int, Finding] = {}
    for (number, _), finding in zip(containers, findings, strict=True):
        if finding is not None:
            first.setdefault(number, finding)
    return list(first.values())


def _times(container: ContainerView) -> str:
    return "once" if container.restarts <= 1 else f"{container.restarts} times"


def _tail(message: str) -> str:
    words = " ".join(message.split())
    return words if len(words) <= LONGEST_TAIL else "…" + words[-LONGEST_TAIL:]
