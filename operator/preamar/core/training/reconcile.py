"""What does a training job need next?

A function of its arguments: no clock, no cluster, no agent. The shell gathers an ``Observed``,
calls ``reconcile``, and carries the ``Plan`` out. A plan carried out in full leaves nothing to
plan; tests/life holds us to that.
"""

from dataclasses import replace
from datetime import timedelta

from preamar.api.training_status import TrainingJobStatus
from preamar.core.conditions import transitions
from preamar.core.metadata import API_VERSION, status_of
from preamar.core.needs_apply import due, refusal_of
from preamar.core.plan import Delete, Manifest, Mark, Plan, Ref
from preamar.core.stuck import Stuck, stuck
from preamar.core.timestamps import moment
from preamar.core.training.account import closed
from preamar.core.training.admission.blocks import Blocked, blocked
from preamar.core.training.annotations import STOP
from preamar.core.training.attempts.endings import pods_of
from preamar.core.training.attempts.goodput import Ledger
from preamar.core.training.attempts.lost import without_lost
from preamar.core.training.attempts.saved import newest
from preamar.core.training.attempts.schedule import mean_time_between_faults
from preamar.core.training.data import preparing
from preamar.core.training.data.prepare_job import prepare_job
from preamar.core.training.data.preparing import Stand, key_of, prepared
from preamar.core.training.elastic import placeholder_pods
from preamar.core.training.elastic.conversion import conversion
from preamar.core.training.elastic.resize import (
    carried_out,
    order_of,
    over_well,
    size_notes,
    wanted,
)
from preamar.core.training.elastic.resize import conversion as conversion_of
from preamar.core.training.lifecycle import next_step
from preamar.core.training.observe import JobView, Observed, children_named, last_attempt
from preamar.core.training.planner.sizes import Split, split
from preamar.core.training.planner.sizing_problem import Terms
from preamar.core.training.pods.desired import KIND, LEDGER, RESTARTS, STREAK, attempt, service
from preamar.core.training.status import status
from preamar.core.training.step import Do, Step, Why
from preamar.core.training.verdicts import BAD, TOLD, Reason, verdicts
from preamar.core.trouble import Trouble

KEPT_ATTEMPTS = 3
"""Jobs of earlier attempts that stay, with their pods' logs, beside the last."""
NOT_WATCHED = 300.0
ORDERS = "preamar/orders"
"""Field manager of orders on attempts that run."""


def reconcile(observed: Observed) -> Plan:
    """The next steps for one job."""
    job = observed.job
    if job.metadata.deletion_timestamp:
        return Plan()  # Kubernetes removes the children
    observed = without_lost(observed)
    step = next_step(observed)
    # What runs is left alone: an edit that cannot be fulfilled only keeps the next from starting.
    starts = step.do in {Do.START, Do.PREPARE, Do.CONVERT}
    block = blocked(observed, step.workers) if starts else None
    pending = _pending(observed, step)
    trouble = _trouble(observed, step, block, pending)
    told_step = _before(step) if block or _refused(observed) else step
    told = verdicts(observed, told_step, trouble)
    wanted = status(observed, told_step, told)
    same = TrainingJobStatus.model_validate(wanted) == job.status
    expired, expires_in = _expired(observed, step)
    return Plan(
        marks=_order(observed, step),
        apply=() if block else _apply(observed, step),
        delete=(
            *_stop(observed, step),
            *_old(observed),
            *_unprepared(observed, step),
            *_left(observed, step),
            *_idle(observed, step),
            *expired,
        ),
        status=None if same or expired else status_of(KIND, job.metadata, wanted),
        events=() if same else transitions(job.status.conditions, told, TOLD, BAD),
        recheck_in=_soonest(step, block, pending, expires_in),
    )


def _apply(observed: Observed, step: Step) -> tuple[Manifest, ...]:
    job = observed.job
    ended = step.do in {Do.SUCCEED, Do.FAIL}
    wanted: list[Manifest] = [] if ended or step.do == Do.REST else [service(job)]
    if step.do == Do.PREPARE and prepared(observed).stand == Stand.MISSING:
        wanted.append(prepare_job(job, observed.settings))
    if step.do == Do.START:
        part = split(Terms.of(job.spec), step.workers)
        if part is not None:
            wanted.append(_next(observed, step, part))
    if step.do == Do.CONVERT:
        wanted += _conversion(observed, step)
    last = last_attempt(observed)
    looks = (
        placeholder_pods.missing(observed, last) if step.do == Do.TRAIN and last is not None else 0
    )
    if looks and last is not None and placeholder_pods.of(observed, last) is None:
        wanted.append(placeholder_pods.scouts(job, observed.settings, last, looks))
    uid = job.metadata.uid
    return due(wanted, uid, observed.children, observed.applied, observed.refused)


def _next(observed: Observed, step: Step, part: Split) -> Manifest:
    """The next attempt. What it must know of those before it is written with it, in one step, so
    that no crash of ours can forget it."""
    job, spent = observed.job, closed(observed, step)
    before = {RESTARTS: str(step.restarts), STREAK: str(step.streak)}
    before |= {LEDGER: str(spent)} if spent else {}
    last = last_attempt(observed)
    before |= size_notes(observed, last, step.attempt, step.workers, step.ending)
    mean = mean_time_between_faults(job, step.workers, spent or Ledger())
    return attempt(job, observed.settings, step.attempt, step.workers, part, before, mean)


def _conversion(observed: Observed, step: Step) -> tuple[Manifest, ...]:
    """The conversion that is not there yet. One that is there is never changed, as all Jobs."""
    last, number = last_attempt(observed), step.attempt + 1
    saved, wish = newest(observed, last), carried_out(observed, last, number, step.workers)
    if conversion_of(observed, number) is not None or saved is None or wish is None:
        return ()
    return (conversion(observed.job, observed.settings, number, wish, saved),)


def _order(observed: Observed, step: Step) -> tuple[Mark, ...]:
    """The order to stop, on the attempt's Job, where it survives us. Rank 0's agent is told by the
    shell once the Job shows it."""
    last = last_attempt(observed)
    wish = wanted(observed, last) if step.do == Do.ORDER and last is not None else None
    if last is None or wish is None:
        return ()
    return (Mark(_job_ref(observed, last.name), last.uid, STOP, wish.text(), ORDERS),)


def _left(observed: Observed, step: Step) -> tuple[Delete, ...]:
    """Conversions that nobody waits for, or whose time is over, and a failed one that the user's
    edit lets us try again."""
    last = last_attempt(observed)
    number = step.attempt + 1
    # What began once the ranks had saved is not given up because their pods are still going.
    leaving = (
        last is not None
        and step.do in {Do.TRAIN, Do.WAIT}
        and order_of(last) is not None
        and any(not p.over for p in pods_of(last, observed.pods))
    )
    return tuple(
        Delete(_job_ref(observed, view.name), view.uid)
        for view in observed.conversions
        if not view.deleting
        and (
            (
                _unwanted(observed, view)
                and (step.do != Do.CONVERT or view.conversion != number)
                and not (leaving and view.conversion == number)
            )
            or (view.failed and step.do == Do.CONVERT and view.conversion == number)
            or (last is not None and view.conversion < last.attempt - KEPT_ATTEMPTS)
        )
    )


def _idle(observed: Observed, step: Step) -> tuple[Delete, ...]:
    """Scouts that look for nothing, or hold what the next attempt is about to take."""
    last = last_attempt(observed)
    may = step.do in {Do.TRAIN, Do.ORDER, Do.CONVERT, Do.WAIT} and step.why != Why.CLEARING
    return tuple(
        Delete(_job_ref(observed, view.name), view.uid)
        for view in observed.scouts
        if not view.deleting and not (may and placeholder_pods.kept(observed, last, view))
    )


def _unwanted(observed: Observed, view: JobView) -> bool:
    return not view.over and not over_well(view, observed)


def _before(step: Step) -> Step:
    """The step as it is told while what it makes cannot be made: that does not exist."""
    if step.do == Do.CONVERT:
        return replace(step, do=Do.WAIT)
    return replace(step, do=Do.WAIT, attempt=step.attempt - 1) if step.do == Do.START else step


def _stop(observed: Observed, step: Step) -> tuple[Delete, ...]:
    last = last_attempt(observed)
    if step.do != Do.STOP or last is None:
        return ()
    # Deleting is how every rank gets its SIGTERM at once; each saves and ends with 75.
    return (Delete(_job_ref(observed, last.name), last.uid),)


def _old(observed: Observed) -> tuple[Delete, ...]:
    last = last_attempt(observed)
    if last is None:
        return ()
    return tuple(
        Delete(_job_ref(observed, view.name), view.uid)
        for view in observed.jobs
        if view.attempt < last.attempt - KEPT_ATTEMPTS and not view.deleting
    )


def _unprepared(observed: Observed, step: Step) -> tuple[Delete, ...]:
    """The prepare Job, where it makes what nobody wants any more, or must rest. What it did stays
    on its volume."""
    view = observed.preparing
    if view is None or view.deleting:
        return ()
    rests = step.do == Do.REST and not view.over
    ended = step.do in {Do.SUCCEED, Do.FAIL} and not view.over
    stale = step.do == Do.PREPARE and prepared(observed).stand == Stand.OUTDATED
    unasked = observed.job.spec.data.prepare is None
    if rests or ended or stale or unasked:
        return (Delete(_job_ref(observed, view.name), view.uid),)
    return ()


def _expired(observed: Observed, step: Step) -> tuple[tuple[Delete, ...], float | None]:
    """The user asked for the job itself to go some time after its end."""
    job, finished = observed.job, moment(observed.job.status.finished_at)
    ttl = job.spec.ttl_seconds_after_finished
    if step.do not in {Do.SUCCEED, Do.FAIL} or ttl is None or finished is None:
        return (), None
    left = (finished + timedelta(seconds=ttl) - observed.now).total_seconds()
    if left > 0:
        return (), left
    ref = Ref(API_VERSION, KIND, job.metadata.namespace, job.metadata.name)
    return (Delete(ref, job.metadata.uid),), None


def _job_ref(observed: Observed, name: str) -> Ref:
    return Ref("batch/v1", "Job", observed.job.metadata.namespace, name)


def _refused(observed: Observed) -> str:
    return refusal_of(children_named(observed.job, observed.jobs), observed.refused)


def _pending(observed: Observed, step: Step) -> Stuck | None:
    last = last_attempt(observed)
    if step.do == Do.PREPARE:
        return stuck(preparing.pods_of(observed.pods, key_of(observed.job)), observed.now)
    if step.do not in {Do.TRAIN, Do.ORDER} or last is None:
        return None
    return stuck(pods_of(last, observed.pods), observed.now)


def _again(step: Step) -> str:
    return f"What the others held is free; attempt {step.attempt + 1} follows after a pause."


def _trouble(
    observed: Observed, step: Step, block: Blocked | None, pending: Stuck | None
) -> Trouble | None:
    if block is not None:
        return Trouble(block.reason, block.message)
    refusal = _refused(observed)
    if refusal:
        return Trouble(Reason.REFUSED, f"The API server does not accept it: {refusal}")
    gang = observed.job.status.gang
    if step.do == Do.WAIT and step.why == Why.GANG and gang is not None:
        return Trouble(Why.GANG, f"{gang.explanation} {_again(step)}")
    if pending is not None and pending.in_grace is None:
        return Trouble(pending.cause, pending.message)
    return None


def _soonest(
    step: Step, block: Blocked | None, pending: Stuck | None, expires_in: float | None
) -> float:
    """When time alone may change the answer."""
    moments = [NOT_WATCHED]
    moments += [step.recheck_in] if step.recheck_in is not None else []
    moments += [block.recheck_in] if block is not None and block.recheck_in is not None else []
    moments += [pending.in_grace] if pending is not None and pending.in_grace is not None else []
    moments += [expires_in] if expires_in is not None else []
    return max(0.1, min(moments))
