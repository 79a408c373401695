"""What does the ledger say of this job now? The evidence is gathered here, and added up in goodput."""

from dataclasses import replace
from datetime import datetime

from preamar.core.timestamps import moment
from preamar.core.training.annotations import RESIZE
from preamar.core.training.attempts import goodput
from preamar.core.training.attempts.endings import (
    BROKEN,
    ON_REQUEST,
    UNCONVERTED,
    outcomes,
    pods_of,
)
from preamar.core.training.attempts.goodput import Attempt, Ledger
from preamar.core.training.attempts.policy import FINAL
from preamar.core.training.observe import JobView, Observed, last_attempt
from preamar.core.training.pods.desired import LEDGER
from preamar.core.training.step import Do, Step

NO_FAULT = FINAL | {ON_REQUEST, BROKEN, UNCONVERTED}


def closed(observed: Observed, step: Step) -> Ledger | None:
    """What a new attempt must know of the time before it: up to the end of the one before. None
    for the first."""
    last, known = last_attempt(observed), Ledger.told(observed.job.status.goodput)
    now = observed.now.replace(microsecond=0)  # as all other times that we are told
    if last is not None:
        before = _after(observed, step, last, last.ended_at or now)
    elif known is not None:
        before = known
    else:
        return None
    checkpoint = observed.job.status.checkpoint
    paused = _paused(observed, before, now)
    return replace(before, paused=paused, step=checkpoint.step if checkpoint else 0, unsaved=0.0)


def current(observed: Observed, step: Step) -> Ledger | None:
    """The ledger up to now, or to the job's end; None before its first attempt is made."""
    last, status = last_attempt(observed), observed.job.status
    known, now = Ledger.told(status.goodput), observed.now.replace(microsecond=0)
    ended = step.do in {Do.SUCCEED, Do.FAIL}
    finished = moment(status.finished_at) if ended else None
    if finished is not None and known is not None and (known.until or finished) >= finished:
        return known
    if last is None:
        if known is None:
            # Begun with the attempt: one that is deleted before it was seen has had its time too.
            return Ledger(until=now) if step.do == Do.START else None
        now = finished or now
        return goodput.rested(
            known, now, _paused(observed, known, now), resizing=step.do == Do.CONVERT
        )
    end = (last.ended_at or now) if last.over else now
    after = _after(observed, step, last, end)
    if ended:
        return after
    return goodput.rested(after, now, _paused(observed, after, now), resizing=step.do == Do.CONVERT)


def _after(observed: Observed, step: Step, last: JobView, end: datetime) -> Ledger:
    """The ledger at the end of the last attempt."""
    base = Ledger.parse(last.annotations.get(LEDGER, ""))
    start = base.until if base else None
    base = base or Ledger()
    start = start or last.created or last.started or end
    end, told = max(start, end), step.ending
    failed = last.failed and (told is None or told.kind != ON_REQUEST)
    if failed and (told is None or told.kind not in NO_FAULT):
        base = replace(base, faults=base.faults + 1)
    live = observed.progress if not last.over else None
    live = live if live is not None and live.attempt == last.attempt else None
    words = next((w for w in outcomes(last, observed.pods) if w.seconds), None)
    spent = live.seconds if live else words.seconds if words else None
    resumed = live.resumed_from if live else words.resumed_from if words else None
    if spent is not None and spent.steps > 0:
        base = base.resumed(resumed or 0)
    known, ready = Ledger.told(observed.job.status.goodput), _ready(observed, last)
    spoke = known is not None and known.useful > base.useful
    if (
        known is not None
        and observed.job.status.attempt == last.attempt
        and spent is None
        and (spoke or (ready is None and last.over))
    ):
        return goodput.from_memory(base, known, end, failed=failed)
    return goodput.with_attempt(
        base,
        Attempt(
            start=start,
            until=end,
            ready=ready,
            spent=spent,
            state=live.state if live else "",
            over=last.over,
            failed=failed,
            resizing=RESIZE in last.annotations,
            paused=base.paused,
        ),
    )


def _ready(observed: Observed, last: JobView) -> datetime | None:
    """When the last of its workers had started; None while one has not."""
    starts = []
    for pod in pods_of(last, observed.pods):
        trainer = pod.container("trainer")
        since = trainer and (trainer.running_since or (trainer.ended and trainer.ended.started))
        if since:
            starts.append(since)
    return max(starts) if last.workers and len(starts) >= last.workers else None


def _paused(observed: Observed, ledger: Ledger, now: datetime) -> float:
    """Suspension since the ledger's end. Status knows how much it was up to its own time, and
    whether the job has rested since."""
    known = Ledger.told(observed.job.status.goodput)
    if known is None or known.until is None:
        return 0.0
    since = max(known.until, ledger.until or known.until)
    told = observed.job.status.condition("Suspended")
    resting = told is not None and told.status == "True"
    more = max(0.0, (now - since).total_seconds()) if resting else 0.0
    return max(0.0, known.suspended - ledger.suspended) + more
