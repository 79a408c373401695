"""What came of each change of size, and is every sample accounted for?

A resize is told once it is over: verified by the ranks' gate and a first step at the new size, or
rolled back. An attempt is told once, whatever becomes of it later.
"""

from collections.abc import Sequence
from typing import Any

from preamar.core.conditions import Verdict
from preamar.core.timestamps import stamp
from preamar.core.training.annotations import ResizeRequest
from preamar.core.training.attempts.endings import BROKEN
from preamar.core.training.facts import Facts
from preamar.core.training.progress import ProgressReport, Resumed, TerminationMessage
from preamar.core.training.step import Do, Step, StepReason
from preamar.protocol.labels import REFUSED, STOP

KEPT_RESIZES = 20
VERIFIED, ROLLED_BACK = "Verified", "RolledBack"
NONE_YET = Verdict("ContinuityVerified", "Unknown", "NoResizes", "The job has not been resized.")


def resizes(facts: Facts, step: Step, before: Sequence[Any]) -> dict[str, Any]:
    """``status.resizes`` with the one that has just ended, newest first; nothing if none has.
    ``before`` are those that the status has, as JSON."""
    found = _verified(facts) or _rolled_back(facts, step)
    if found is None or any(each.get("attempt") == found["attempt"] for each in before):
        return {}
    return {"resizes": [found, *before][:KEPT_RESIZES]}


def _verified(facts: Facts) -> dict[str, Any] | None:
    wish, last, seen = facts.notes.resize, facts.last, _gate(facts)
    if last is None or wish is None or seen is None or seen.pause is None:
        return None
    return {
        "from": wish.before,
        "to": wish.to,
        "reason": wish.reason,
        "pauseSeconds": f"{max(0.0, seen.pause):.3f}",
        "lossDelta": _decimal(seen.delta),
        "at": stamp(wish.at),
        "attempt": last.attempt,
        "outcome": VERIFIED,
    }


def _rolled_back(facts: Facts, step: Step) -> dict[str, Any] | None:
    """The wish that an attempt starts without. It names the attempt that could not be."""
    given_up, last = step.size.refused, facts.last
    if step.do != Do.START or given_up is None:
        return None
    if last is not None and REFUSED in last.annotations:
        return None
    broken = step.ending is not None and step.ending.kind == BROKEN
    wish = facts.notes.resize if broken else None
    return {
        "from": wish.before if wish is not None else step.workers,
        "to": given_up.to,
        "reason": given_up.reason[:256],
        "at": stamp(wish.at if wish is not None else facts.now),
        "attempt": step.attempt - 1 if broken else step.attempt,
        "outcome": ROLLED_BACK,
    }


def _gate(facts: Facts) -> Resumed | None:
    """What the last attempt's ranks saw before their first step."""
    if facts.live is not None and facts.live.resumed is not None:
        return facts.live.resumed
    return next((w.resumed for w in facts.words if w.resumed), None)


def continuity(facts: Facts, step: Step) -> Verdict:
    """Whether the job goes on from exactly the state that the last resize left."""
    kind, last, wish = NONE_YET.type, facts.last, facts.notes.resize
    given_up = step.size.refused or facts.notes.refused
    if given_up is not None:
        return Verdict(
            kind,
            "False",
            given_up.reason or BROKEN,
            f"The resize to {given_up.to} workers was rolled back: {given_up.message}",
        )
    if step.do in {Do.ORDER, Do.CONVERT} or step.why == StepReason.RESIZING:
        return Verdict(kind, "Unknown", StepReason.RESIZING, "A resize is under way.")
    if last is not None and wish is not None and STOP not in last.annotations:
        seen = _gate(facts)
        if seen is None or seen.pause is None:
            return Verdict(
                kind,
                "Unknown",
                StepReason.RESIZING,
                f"Attempt {last.attempt} is to go on with {wish.to} workers and has not yet.",
            )
        return Verdict(
            kind,
            "True",
            VERIFIED,
            f"From {wish.before} to {wish.to} workers at step {seen.step}: {seen.tensors} tensors "
            f"are as saved, the loss on held-out samples changed by {seen.delta:.3g}.",
        )
    before = facts.before.get(kind)
    if before is None or before.status == "Unknown":
        return NONE_YET
    return Verdict(kind, before.status, before.reason, before.message)


def samples(
    wish: ResizeRequest | None, consumed: int, told: ProgressReport | TerminationMessage
) -> dict[str, int]:
    """What the ranks of an attempt counted, and what is missing between the stop that its resize
    ``wish`` knows of and where it began."""
    missing = 0
    if wish is not None and wish.consumed is not None and isinstance(told, ProgressReport):
        begun = _begun(told)
        missing = max(0, begun - wish.consumed) if begun is not None else 0
    return {
        "consumed": consumed,
        "skipped": told.skipped + missing,
        "duplicated": told.duplicated,
    }


def _begun(live: ProgressReport) -> int | None:
    """The samples that were behind it when an attempt began, from the ranks' own pace."""
    if live.resumed_from is None or not live.step or live.consumed is None:
        return None
    return live.consumed * live.resumed_from // live.step


def _decimal(value: float) -> str:
    return f"{value:.9f}" if abs(value) < 1e15 else "0"
