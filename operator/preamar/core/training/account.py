"""What does the ledger say of this job now? The evidence is gathered here, and added up in goodput."""

from dataclasses import replace
from datetime import datetime

from preamar.core.timestamps import moment
from preamar.core.training.attempts import goodput
from preamar.core.training.attempts.endings import BROKEN, ON_REQUEST, UNCONVERTED
from preamar.core.training.attempts.goodput import Attempt, Ledger
from preamar.core.training.attempts.policy import FINAL
from preamar.core.training.facts import Facts
from preamar.core.training.observe import JobView
from preamar.core.training.step import Do, Step
from preamar.protocol.labels import RESIZE

NO_FAULT = FINAL | {ON_REQUEST, BROKEN, UNCONVERTED}


def closed(facts: Facts, spent: Ledger | None) -> Ledger | None:
    """What a new attempt must know of the time before it: up to the end of the one before, as
    ``spent`` has it. None for the first."""
    before = spent or facts.ledger
    if before is None:
        return None
    checkpoint = facts.job.status.checkpoint
    paused = _paused(facts, before, _now(facts))
    return replace(before, paused=paused, step=checkpoint.step if checkpoint else 0, unsaved=0.0)


def current(facts: Facts, step: Step, spent: Ledger | None) -> Ledger | None:
    """The ledger up to now, or to the job's end; None before its first attempt is made."""
    known, now = facts.ledger, _now(facts)
    ended = step.do in {Do.SUCCEED, Do.FAIL}
    finished = moment(facts.job.status.finished_at) if ended else None
    if finished is not None and known is not None and (known.until or finished) >= finished:
        return known
    converting = step.do == Do.CONVERT
    if spent is None:
        if known is None:
            # Begun with the attempt: one that is deleted before it was seen has had its time too.
            return Ledger(until=now) if step.do == Do.START else None
        now = finished or now
        return goodput.rested(known, now, _paused(facts, known, now), resizing=converting)
    if ended:
        return spent
    return goodput.rested(spent, now, _paused(facts, spent, now), resizing=converting)


def at_the_end(facts: Facts) -> Ledger | None:
    """The ledger at the end of the last attempt, or up to now while it runs; None without one."""
    last, told, known = facts.last, facts.ending, facts.ledger
    if last is None:
        return None
    base = Ledger.parse(facts.notes.ledger) if facts.notes.ledger else None
    end = (last.ended_at or _now(facts)) if facts.over else _now(facts)
    start = base.until if base else None
    base = base or Ledger()
    start = start or last.created or last.started or end
    end = max(start, end)
    failed = last.failed and (told is None or told.kind != ON_REQUEST)
    if failed and (told is None or told.kind not in NO_FAULT):
        base = replace(base, faults=base.faults + 1)
    live = facts.live if not facts.over else None
    words = next((w for w in facts.words if w.seconds), None)
    spent = live.seconds if live else words.seconds if words else None
    resumed = live.resumed_from if live else words.resumed_from if words else None
    if spent is not None and spent.steps > 0:
        base = base.resumed(resumed or 0)
    ready = _ready(facts, last)
    spoke = known is not None and known.useful > base.useful
    if (
        known is not None
        and facts.job.status.attempt == last.attempt
        and spent is None
        and (spoke or (ready is None and facts.over))
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
            over=facts.over,
            failed=failed,
            resizing=RESIZE in last.annotations,
            paused=base.paused,
        ),
    )


def _now(facts: Facts) -> datetime:
    return facts.now.replace(microsecond=0)  # as all other times that we are told


def _ready(facts: Facts, last: JobView) -> datetime | None:
    """When the last of its workers had started; None while one has not."""
    starts = []
    for pod in facts.pods:
        trainer = next((c for c in pod.containers if c.name == "trainer"), None)
        since = trainer and (trainer.running_since or (trainer.ended and trainer.ended.started))
        if since:
            starts.append(since)
    return max(starts) if last.workers and len(starts) >= last.workers else None


def _paused(facts: Facts, ledger: Ledger, now: datetime) -> float:
    """Suspension since the ledger's end. Status knows how much it was up to its own time, and
    whether the job has rested since."""
    known = facts.ledger
    if known is None or known.until is None:
        return 0.0
    since = max(known.until, ledger.until or known.until)
    told = facts.before.get("Suspended")
    resting = told is not None and told.status == "True"
    more = max(0.0, (now - since).total_seconds()) if resting else 0.0
    return max(0.0, known.suspended - ledger.suspended) + more
