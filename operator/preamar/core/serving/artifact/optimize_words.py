"""What did a pod that makes an optimised model say at its end?

Its last words are figures, or why the wish cannot be fulfilled. The container may be the user's own image:
nothing of what it says is taken on trust.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from preamar.core.pods import Ended, PodView
from preamar.core.serving.pods.worker import TRIES

MOST_LAYERS = 256
LONGEST = 200
_FIGURES = ("latency", "latencyP99", "throughput", "error")


class OptimizeState(StrEnum):
    """How far it is; the condition's reason."""

    UNASKED = "NotRequested"
    WORKING = "Optimizing"
    DONE = "Optimized"
    REFUSED = "Refused"


class OptimizeFailure(StrEnum):
    """Why it did not come to an artefact."""

    INACCURATE = "OptimizationTooInaccurate"
    UNSUPPORTED = "OptimizationUnsupported"
    FAILS = "OptimizationFails"
    MEMORY = "OutOfMemory"


@dataclass(frozen=True, slots=True)
class Optimized:
    """``told`` is what status.optimization should say; ``reason`` and ``message`` are of a refusal, or
    say what is waited for. ``missing``: the products whose Jobs have not made their part yet;
    ``stale``: those of them whose Jobs have, and it is gone."""

    stand: OptimizeState
    reason: str = ""
    message: str = ""
    told: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    missing: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()


def refused(end: Ended) -> Optimized:
    """Of a wish that the user must change."""
    told = end.words
    reason, message = told.get("reason"), told.get("message")
    if not isinstance(reason, str) or not reason.isalpha() or len(reason) > LONGEST:
        reason = OptimizeFailure.UNSUPPORTED
    if not isinstance(message, str) or not message:
        message = "The model cannot be optimised as asked."
    return Optimized(OptimizeState.REFUSED, reason, message)


def failed(pod: PodView, end: Ended) -> Optimized:
    """Of the last try of several."""
    if end.reason == "OOMKilled":
        return Optimized(
            OptimizeState.REFUSED,
            OptimizeFailure.MEMORY,
            "Optimising the model needs more memory than it may use: raise "
            "runtime.resources.limits.memory.",
        )
    said = " ".join(end.message.split())[-600:]
    return Optimized(
        OptimizeState.REFUSED,
        OptimizeFailure.FAILS,
        f"Optimising the model failed {TRIES + 1} times, last with exit code {end.exit_code} in pod "
        f"{pod.name}. It said: {said}",
    )


def figures(end: Ended, name: str) -> dict[str, Any]:
    """``status.optimization`` of the artefact called ``name``."""
    words, found = end.words, dict[str, Any](artefact=name)
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


def engine(end: Ended, product: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """One row of ``status.optimization.engines``."""
    words = end.words.get("engine")
    words = words if isinstance(words, dict) else {}
    row = {side: told[side] for side in ("before", "after") if side in told}
    for name, known in (("product", product), ("tensorrt", "")):
        said = words.get(name)
        if value := known or (said[:LONGEST] if isinstance(said, str) else ""):
            row[name] = value
    return row


def _is_number(value: object) -> bool:
    if not isinstance(value, str) or len(value) > 40:
        return False
    whole, _, part = value.removeprefix("-").partition(".")
    return whole.isascii() and whole.isdigit() and (not part or (part.isascii() and part.isdigit()))
