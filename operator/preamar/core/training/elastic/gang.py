"""Do some workers of an attempt wait for accelerators while others hold theirs?

Nothing trains until all ranks are up, so the ones that are up hold accelerators for nothing. After
a deadline the attempt ends, which frees them. If the job can go on with those that had a place it
does so at once (``places``); else the next waits for a pause that doubles from one incomplete gang
to the next. It is nobody's failure; the bound on free restarts ends it at last.
An attempt of which no pod has a place holds nothing, and keeps its place in the scheduler's queue.
"""

from datetime import datetime
from typing import Any

from preamar.api.training_status import Gang
from preamar.core import backoff
from preamar.core.backoff import INCOMPLETE_GANG
from preamar.core.conditions import shortened
from preamar.core.pods import PodView
from preamar.core.timestamps import moment, stamp
from preamar.core.training.elastic.degraded_size import fits, patience
from preamar.core.training.facts import Facts
from preamar.core.training.observe import JobView


def seconds_left(facts: Facts, last: JobView) -> float | None:
    """Seconds until the attempt is ended because not all its workers could start; None where that
    is not the case. Zero or less: it is time."""
    if last.suspended or facts.over or last.started is None:
        return None
    pods = [pod for pod in facts.pods if not pod.deleting]
    missing = last.workers - sum(pod.phase != "Pending" for pod in pods)
    # Where all have a node and none runs, images are still pulled: a new start would begin anew.
    have = sum(placed(pod) for pod in pods)
    if missing <= 0 or not have or (have == last.workers == missing):
        return None
    return patience(facts, last) - _since(last.started, facts.now)


def given_up(facts: Facts, last: JobView) -> dict[str, Any]:
    """``status.gang`` once an attempt is ended for this reason."""
    before = facts.job.status.gang or Gang()
    if before.attempt == last.attempt:  # told already, and its Job is not gone yet
        return before.model_dump(by_alias=True, exclude_none=True, mode="json")
    return {
        "attempt": last.attempt,
        "incomplete": before.incomplete + 1,
        "at": stamp(facts.now),
        "generation": facts.job.metadata.generation or 0,
        "explanation": _explanation(facts, last),
        **({"fits": size} if (size := fits(facts, last)) else {}),
    }


def pause(facts: Facts) -> float:
    """Seconds until another attempt may try to get all its accelerators; 0 where none must wait."""
    gang, status = facts.job.status.gang, facts.job.status
    if gang is None or gang.attempt != status.attempt or gang.fits:
        return 0.0
    return rest(facts)


def rest(facts: Facts) -> float:
    """Seconds until places are worth another look; 0 where nothing is known against it."""
    gang, job = facts.job.status.gang, facts.job
    ended = moment(gang.at) if gang else None
    if gang is None or ended is None or gang.generation != job.metadata.generation:
        return 0.0  # an edit may be what it takes
    wait = backoff.pause(INCOMPLETE_GANG, gang.incomplete - 1)
    return max(0.0, wait - _since(ended, facts.now))


def _explanation(facts: Facts, last: JobView) -> str:
    pods = [pod for pod in facts.pods if not pod.deleting]
    waiting = sorted((p for p in pods if p.phase == "Pending"), key=lambda p: p.name)
    absent = last.workers - len(pods)
    named = ", ".join(pod.name for pod in waiting[:5]) + (" …" if len(waiting) > 5 else "")
    why = next((pod.unschedulable for pod in waiting if pod.unschedulable), "")
    parts = [f"{len(waiting) + absent} of {last.workers} workers could not start"]
    parts += [f" ({named})"] if named else []
    parts += [f" within {patience(facts, last)} s"]
    parts += [f": {why.rstrip('.')}"] if why else [f"; {absent} had no pod"] if absent else []
    return shortened(f"{''.join(parts)}.")


def placed(pod: PodView) -> bool:
    """Whether the scheduler has given it a node."""
    return bool(pod.phase != "Pending" or pod.scheduled or pod.node)


def _since(then: datetime, now: datetime) -> float:
    return (now - then).total_seconds()
