"""What should the job do next: wait, start an attempt, train on, stop, or end?

At most one attempt has pods at any time: the next starts when every pod of the earlier ones is
over. Failures count against the user's limit, by their class (``policy``); what is nobody's fault
does not, but is bounded too, and both wait a while first; a resize counts nowhere and waits for
nothing. A job that has succeeded never starts again.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from preamar.core.backoff import Backoff, pause
from preamar.core.timestamps import moment
from preamar.core.training.attempts.endings import ON_REQUEST, converters, ending, pods_of
from preamar.core.training.attempts.policy import Streak
from preamar.core.training.data.preparing import Stand, prepared
from preamar.core.training.elastic import gang, placeholder_pods, resize
from preamar.core.training.observe import ATTEMPT_LABEL, JobView, Observed, last_attempt
from preamar.core.training.pods.desired import ORDER, RESTARTS, STREAK, order_digest
from preamar.core.training.step import Do, Step, Why

COUNTED = Backoff(10.0, 300.0)
"""After a failure."""
FREE = Backoff(1.0, 60.0)
"""After what is nobody's fault."""
HEALTHY_SECONDS = 600.0
"""An attempt that lasted so long was no part of a row of failures: the next one need not wait for
them."""
LOOK_AGAIN = 5.0


def next_step(observed: Observed) -> Step:
    """The next step, from what is there."""
    job, last = observed.job, last_attempt(observed)
    number = max(job.status.attempt or 0, last.attempt if last else 0)
    told = ending(last, observed.pods) if last and _ended(observed, last) else None
    workers = resize.next_size(observed, last, told)
    counted = counted_before(observed, last)
    streak = streak_before(observed, last)
    if told is not None and not told.free:
        counted += 1
        streak = streak.after(told.kind, told.step)
    here = Step(Do.WAIT, Why.RESTARTING, number, workers, counted, told, streak=streak)

    succeeded = job.status.condition("Succeeded")
    if succeeded is not None and succeeded.status == "True":
        return _but(here, Do.SUCCEED, Why.DONE)
    if last is not None and last.complete:
        return _but(here, Do.SUCCEED, Why.DONE)
    if last is not None and not last.over and not _ended(observed, last):
        return _running(observed, last, here)
    if last is None and job.status.finished_at and succeeded and succeeded.status == "False":
        # Its Job is gone, and with it what would say more.
        return _but(here, Do.FAIL, succeeded.reason)
    stop = _given_up(observed, here, last)
    if stop:
        return _but(here, Do.FAIL, stop)
    return _again(observed, here, last)


def _running(observed: Observed, last: JobView, here: Step) -> Step:
    if last.deleting:
        return _but(here, Do.WAIT, Why.STOPPING, LOOK_AGAIN)
    left = deadline_in(observed)
    due = left is not None and left <= 0
    if (
        resize.convertible(observed, last, here.workers)
        and not observed.job.spec.suspend
        and not due
    ):
        return _but(here, Do.CONVERT, Why.CONVERTING, LOOK_AGAIN)
    if last.failing or any(p.phase == "Failed" for p in pods_of(last, observed.pods)):
        # Its controller ends the others by itself; deleting it now would hide why it failed.
        return _but(here, Do.TRAIN, Why.TRAINING, LOOK_AGAIN)
    if observed.job.spec.suspend:
        return _but(here, Do.STOP, Why.SUSPENDED)
    if due:
        return _but(here, Do.STOP, Why.DEADLINE)
    order = resize.order_of(last)
    if order is not None and resize.overdue(observed, order):
        return _but(here, Do.STOP, Why.RESIZING)
    if order is not None:
        return _but(here, Do.TRAIN, Why.RESIZING, LOOK_AGAIN)
    if resize.wanted(observed, last) is not None:
        # Where not all run nothing is lost by starting anew, and the wanted size may be one that fits.
        return (
            _but(here, Do.STOP, Why.RESIZED)
            if _never_began(observed, last)
            else _but(here, Do.ORDER, Why.RESIZING, LOOK_AGAIN)
        )
    patience = gang.seconds_left(observed, last)
    if patience is not None and patience <= 0:
        return _but(here, Do.STOP, Why.GANG)
    looks = placeholder_pods.recheck_in(observed, last)
    moments = [each for each in (left, patience, looks) if each is not None]
    return _but(here, Do.TRAIN, Why.TRAINING, min(moments, default=None))


def _ended(observed: Observed, last: JobView) -> bool:
    """Whether it has failed. Its pods know a second or two before the Job does: the first that
    fails ends all, so once every pod is over there is nothing that its controller may still do."""
    pods = pods_of(last, observed.pods)
    told = resize.order_of(last) is not None and len(pods) == last.workers
    gone = told and all(p.over for p in pods) and any(p.phase == "Failed" for p in pods)
    return last.failed or (gone and not last.complete)


def _given_up(observed: Observed, here: Step, last: JobView | None) -> str:
    spec, told = observed.job.spec, here.ending
    edited = last is not None and last.annotations.get(ORDER) != order_digest(observed.job)
    left = deadline_in(observed)
    if left is not None and left <= 0 and not spec.suspend:
        return Why.DEADLINE
    hopeless = here.streak.hopeless(told.kind) if told else ""
    if hopeless and not edited:
        return hopeless
    # An edit by which the user repairs his error is a new try, which is his to grant.
    if here.restarts > spec.restarts.limit and not hopeless:
        return Why.RESTARTS_EXHAUSTED
    free = here.attempt - here.restarts - resize.resized_before(observed, last)
    if free > observed.settings.free_restarts:
        return Why.INTERRUPTED
    return ""


def _again(observed: Observed, here: Step, last: JobView | None) -> Step:
    if any(not p.over for p in observed.pods if ATTEMPT_LABEL in p.labels):
        return _but(here, Do.WAIT, Why.STOPPING, LOOK_AGAIN)
    if observed.job.spec.suspend:
        return _but(here, Do.REST, Why.SUSPENDED)
    wait, rest = _backoff(here, last, observed.now), gang.pause(observed)
    if rest > max(wait, 0.0):
        return _but(here, Do.WAIT, Why.GANG, rest)
    if wait > 0:
        return _but(here, Do.WAIT, Why.RESTARTING, wait)
    data = prepared(observed)
    if data.stand != Stand.READY or data.made is not None:  # the status must know of it first
        return _but(here, Do.PREPARE, Why.PREPARING, LOOK_AGAIN)
    number = here.attempt + 1
    resizes = resize.carried_out(observed, last, number, here.workers) is not None
    if resizes and resize.needs_conversion(observed):
        if not resize.converted(observed, last, here.ending, number):
            return _but(here, Do.CONVERT, Why.CONVERTING, LOOK_AGAIN)
    elif any(not p.over for v in observed.conversions for p in converters(v, observed.pods)):
        # A wish that was taken back: what it began must be gone before anybody else writes there.
        return _but(here, Do.WAIT, Why.STOPPING, LOOK_AGAIN)
    if placeholder_pods.alive(observed):  # the places that they hold are those of the attempt
        return _but(here, Do.WAIT, Why.CLEARING, LOOK_AGAIN)
    why = Why.FIRST if here.attempt == 0 else Why.RESIZING if resizes else Why.RESTARTING
    return replace(here, do=Do.START, why=why, attempt=number, recheck_in=LOOK_AGAIN)


def counted_before(observed: Observed, last: JobView | None) -> int:
    """Restarts that counted before the last attempt; from status if that is gone."""
    text = last.annotations.get(RESTARTS, "") if last else ""
    if text.isdecimal():
        return int(text)
    return observed.job.status.restarts or 0


def streak_before(observed: Observed, last: JobView | None) -> Streak:
    """Failures in a row at one place before the last attempt; from status if that is gone."""
    if last is not None:
        return Streak.parse(last.annotations.get(STREAK, ""))
    failure = observed.job.status.failure
    return Streak(failure.times or 0, failure.step) if failure else Streak()


def deadline_in(observed: Observed) -> float | None:
    """Seconds until the job must have ended, from the start of its first attempt."""
    limit = observed.job.spec.active_deadline_seconds
    started = moment(observed.job.status.started_at)
    if limit is None or started is None:
        return None
    return (started + timedelta(seconds=limit) - observed.now).total_seconds()


def _never_began(observed: Observed, last: JobView) -> bool:
    """Nothing trains until all run, and who has run is never pending again."""
    pods = pods_of(last, observed.pods)
    return not last.succeeded and (not pods or any(p.phase == "Pending" for p in pods))


def _backoff(here: Step, last: JobView | None, now: datetime) -> float:
    if last is None or last.ended_at is None or here.ending is None:
        return 0.0
    if here.ending.kind == ON_REQUEST and resize.order_of(last) is not None:
        return 0.0
    before = here.attempt - here.restarts - 1 if here.ending.free else here.restarts - 1
    began = last.started or last.created
    if began is not None and (last.ended_at - began).total_seconds() >= HEALTHY_SECONDS:
        before = 0
    wait = pause(FREE if here.ending.free else COUNTED, before)
    return wait - (now - last.ended_at).total_seconds()


def _but(here: Step, do: Do, why: str, recheck_in: float | None = None) -> Step:
    return replace(here, do=do, why=why, recheck_in=recheck_in)
