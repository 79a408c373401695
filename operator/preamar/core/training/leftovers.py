"""Which objects of a job are of no more use, or must go?

An attempt that has to stop, old attempts, conversions that nobody waits for, pods that look for no
places, a prepare Job whose data nobody wants; and the job itself, some time after its end.
"""

from collections.abc import Iterable
from datetime import timedelta

from preamar.core.metadata import API_VERSION
from preamar.core.plan import Delete, Ref
from preamar.core.pods import OVER
from preamar.core.timestamps import moment
from preamar.core.training.data.preparing import DataState
from preamar.core.training.facts import Conversion, Facts
from preamar.core.training.observe import JobView
from preamar.core.training.pods.desired import KIND
from preamar.core.training.step import Do, Step

KEPT_ATTEMPTS = 3
"""Jobs of earlier attempts that stay, with their pods' logs, beside the last."""


def leftovers(facts: Facts, step: Step) -> tuple[Delete, ...]:
    """What to delete, but for the job itself."""
    return _deleted(
        facts,
        (
            *_stopped(facts, step),
            *_old(facts),
            *_unprepared(facts, step),
            *_converted(facts, step),
            *step.dismissed,
        ),
    )


def expired(facts: Facts, step: Step) -> tuple[tuple[Delete, ...], float | None]:
    """The user asked for the job itself to go some time after its end: it, or the seconds left."""
    job = facts.job
    ttl = job.spec.ttl_seconds_after_finished
    finished = moment(job.status.finished_at) if ttl is not None else None
    if step.do not in {Do.SUCCEED, Do.FAIL} or ttl is None or finished is None:
        return (), None
    left = (finished + timedelta(seconds=ttl) - facts.now).total_seconds()
    if left > 0:
        return (), left
    ref = Ref(API_VERSION, KIND, job.metadata.namespace, job.metadata.name)
    return (Delete(ref, job.metadata.uid),), None


def _deleted(facts: Facts, views: Iterable[JobView]) -> tuple[Delete, ...]:
    namespace = facts.job.metadata.namespace
    return tuple(Delete(Ref("batch/v1", "Job", namespace, v.name), v.uid) for v in views)


def _stopped(facts: Facts, step: Step) -> tuple[JobView, ...]:
    # Deleting is how every rank gets its SIGTERM at once; each saves and ends with 75.
    return (facts.last,) if step.do == Do.STOP and facts.last is not None else ()


def _old(facts: Facts) -> tuple[JobView, ...]:
    last = facts.last
    if last is None:
        return ()
    least = last.attempt - KEPT_ATTEMPTS
    return tuple(v for v in facts.observed.jobs if v.attempt < least and not v.deleting)


def _converted(facts: Facts, step: Step) -> tuple[JobView, ...]:
    """Conversions that nobody waits for, or whose time is over, and a failed one that the user's
    edit lets us try again."""
    last, number = facts.last, step.attempt + 1
    # What began once the ranks had saved is not given up because their pods are still going.
    leaving = (
        step.do in {Do.TRAIN, Do.WAIT}
        and facts.notes.order is not None
        and any(p.phase not in OVER for p in facts.pods)
    )
    return tuple(
        each.view
        for each in facts.conversions
        if not each.view.deleting
        and (
            (
                _unfinished(each)
                and (step.do != Do.CONVERT or each.view.conversion != number)
                and not (leaving and each.view.conversion == number)
            )
            or (each.view.failed and step.do == Do.CONVERT and each.view.conversion == number)
            or (last is not None and each.view.conversion < last.attempt - KEPT_ATTEMPTS)
        )
    )


def _unfinished(conversion: Conversion) -> bool:
    view = conversion.view
    return not (view.complete or view.failed or conversion.done)


def _unprepared(facts: Facts, step: Step) -> tuple[JobView, ...]:
    """The prepare Job, where it makes what nobody wants any more, or must rest. What it did stays
    on its volume."""
    view = facts.observed.preparing
    if view is None or view.deleting:
        return ()
    over = view.complete or view.failed
    ended = step.do in {Do.REST, Do.SUCCEED, Do.FAIL} and not over
    stale = step.do == Do.PREPARE and facts.data.stand == DataState.OUTDATED
    unasked = facts.job.spec.data.prepare is None
    return (view,) if ended or stale or unasked else ()
