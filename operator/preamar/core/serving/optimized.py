"""Is the model as it was asked to be: optimised, under way, or refused?

Read from the last words of the Job's pods, and from status once they have been told there: the Job may
go, the artefact stays. A refusal is the user's to settle and is tried again when the wish is another.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from json import loads
from types import MappingProxyType
from typing import Any

from preamar.core.pods import Ended, PodView
from preamar.core.serving.memory import REFUSED
from preamar.core.serving.observe import WORK_LABEL, Observed
from preamar.core.serving.source import artefact, is_optimized
from preamar.core.serving.worker import TRIES

MOST_LAYERS = 256
LONGEST = 200
_FIGURES = ("latency", "latencyP99", "throughput", "error")


class Stand(StrEnum):
    """How far it is; the condition's reason."""

    UNASKED = "NotRequested"
    WORKING = "Optimizing"
    DONE = "Optimized"
    REFUSED = "Refused"


class Why(StrEnum):
    """Why it did not come to an artefact."""

    INACCURATE = "OptimizationTooInaccurate"
    UNSUPPORTED = "OptimizationUnsupported"
    FAILS = "OptimizationFails"
    MEMORY = "OutOfMemory"


@dataclass(frozen=True, slots=True)
class Optimized:
    """``told`` is what status.optimization should say; ``reason`` and ``message`` are of a refusal."""

    stand: Stand
    reason: str = ""
    message: str = ""
    told: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


def optimized(observed: Observed) -> Optimized:
    """How the present wish stands."""
    service = observed.service
    if not is_optimized(service):
        return Optimized(Stand.UNASKED)
    name, known = artefact(service), service.status.optimization
    if known is not None and known.artefact == name:
        told = known.model_dump(by_alias=True, exclude_none=True, mode="json")
        return Optimized(Stand.DONE, told=told)
    ends = [
        (pod, end)
        for pod in observed.workers
        if pod.annotations.get(WORK_LABEL) == name
        for container in (pod.container("optimize"),)
        if container is not None
        for end in (container.ended,)
        if end is not None
    ]
    done = next((end for _, end in ends if end.exit_code == 0), None)
    if done is not None:
        return Optimized(Stand.DONE, told=_told(done, name))
    refusal = next((end for _, end in ends if end.exit_code == REFUSED), None)
    if refusal is not None:
        return _refused(refusal)
    # A pod that was evicted is no try.
    failed = [(pod, end) for pod, end in ends if not pod.disrupted]
    if len(failed) > TRIES:
        return _failed(*failed[-1])
    return Optimized(Stand.WORKING)


def _refused(end: Ended) -> Optimized:
    told = _words(end)
    reason, message = told.get("reason"), told.get("message")
    if not isinstance(reason, str) or not reason.isalpha() or len(reason) > LONGEST:
        reason = Why.UNSUPPORTED
    if not isinstance(message, str) or not message:
        message = "The model cannot be optimised as asked."
    return Optimized(Stand.REFUSED, reason, message)


def _failed(pod: PodView, end: Ended) -> Optimized:
    if end.reason == "OOMKilled":
        return Optimized(
            Stand.REFUSED,
            Why.MEMORY,
            "Optimising the model needs more memory than it may use: raise "
            "runtime.resources.limits.memory.",
        )
    said = " ".join(end.message.split())[-600:]
    return Optimized(
        Stand.REFUSED,
        Why.FAILS,
        f"Optimising the model failed {TRIES + 1} times, last with exit code {end.exit_code} in pod "
        f"{pod.name}. It said: {said}",
    )


def _told(end: Ended, name: str) -> dict[str, Any]:
    """The container may be the user's own image: nothing of what it says is taken on trust."""
    words, found = _words(end), dict[str, Any](artefact=name)
    for side in ("before", "after"):
        one = words.get(side)
        one = one if isinstance(one, dict) else {}
        size = one.get("bytes")
        measured = {k: one[k] for k in _FIGURES if _is_number(one.get(k))}
        if isinstance(size, int) and not isinstance(size, bool) and 0 <= size < 2**53:
            measured["bytes"] = size
        if measured:
            found[side] = measured
    layers = words.get("layersKept")
    if isinstance(layers, list):
        kept = [each[:LONGEST] for each in layers if isinstance(each, str) and each]
        if kept:
            found["layersKept"] = kept[:MOST_LAYERS]
    return found


def _is_number(value: object) -> bool:
    if not isinstance(value, str) or len(value) > 40:
        return False
    whole, _, part = value.removeprefix("-").partition(".")
    return whole.isascii() and whole.isdigit() and (not part or (part.isascii() and part.isdigit()))


def _words(end: Ended) -> dict[str, Any]:
    try:
        told: Any = loads(end.message)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}
