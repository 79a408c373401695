"""What comes next once the last attempt has ended, or before there was any?

The rules of ``ENDED`` in their order: first whether the job is given up, then what the next attempt
waits for, at last that it starts. The first rule that has an answer gives it.
"""

from dataclasses import replace

from preamar.core.backoff import Backoff, pause
from preamar.core.pods import OVER
from preamar.core.training.attempts.endings import ON_REQUEST
from preamar.core.training.backends.chosen import BACKEND
from preamar.core.training.data.preparing import DataState
from preamar.core.training.elastic import gang, placeholder_pods, resize
from preamar.core.training.facts import Facts
from preamar.core.training.pods.desired import order_digest
from preamar.core.training.rules.situation import LOOK_AGAIN, Rule, Situation
from preamar.core.training.step import Do, Step, StepReason
from preamar.protocol.labels import ATTEMPT_LABEL

COUNTED = Backoff(10.0, 300.0)
"""After a failure."""
FREE = Backoff(1.0, 60.0)
"""After what is nobody's fault."""
HEALTHY_SECONDS = 600.0
"""An attempt that lasted so long was no part of a row of failures: the next one need not wait for
them."""


def had_failed_before(situation: Situation) -> Step | None:
    facts, told = situation.facts, situation.facts.before.get("Succeeded")
    # Its Job is gone, and with it what would say more.
    if facts.last is None and facts.job.status.finished_at and told and told.status == "False":
        return situation.but(Do.FAIL, told.reason)
    return None


def is_out_of_time(situation: Situation) -> Step | None:
    if situation.out_of_time and not situation.facts.job.spec.suspend:
        return situation.but(Do.FAIL, StepReason.DEADLINE)
    return None


def has_failed_for_good(situation: Situation) -> Step | None:
    facts, here = situation.facts, situation.here
    hopeless = here.streak.hopeless(here.ending.kind) if here.ending else ""
    if hopeless:
        # An edit by which the user repairs his error is a new try, which is his to grant.
        edited = facts.last is not None and facts.notes.digest != order_digest(facts.job)
        return None if edited else situation.but(Do.FAIL, hopeless)
    if here.restarts > facts.job.spec.restarts.limit:
        return situation.but(Do.FAIL, StepReason.RESTARTS_EXHAUSTED)
    return None


def was_interrupted_too_often(situation: Situation) -> Step | None:
    facts, here = situation.facts, situation.here
    if here.attempt - here.restarts - facts.resized > facts.observed.settings.free_restarts:
        return situation.but(Do.FAIL, StepReason.INTERRUPTED)
    return None


def leaves_pods(situation: Situation) -> Step | None:
    pods = situation.facts.observed.pods
    if any(p.phase not in OVER for p in pods if ATTEMPT_LABEL in p.labels):
        return situation.but(Do.WAIT, StepReason.STOPPING, LOOK_AGAIN)
    return None


def is_suspended(situation: Situation) -> Step | None:
    return (
        situation.but(Do.REST, StepReason.SUSPENDED) if situation.facts.job.spec.suspend else None
    )


def pauses(situation: Situation) -> Step | None:
    wait, rest = _backoff(situation), gang.pause(situation.facts)
    if rest > max(wait, 0.0):
        return situation.but(Do.WAIT, StepReason.GANG, rest)
    return situation.but(Do.WAIT, StepReason.RESTARTING, wait) if wait > 0 else None


def needs_data(situation: Situation) -> Step | None:
    data = situation.facts.data
    if data.stand != DataState.READY or data.made is not None:  # the status must know of it first
        return situation.but(Do.PREPARE, StepReason.PREPARING, LOOK_AGAIN)
    return None


def changes_its_size(situation: Situation) -> Step | None:
    facts = situation.facts
    found = situation.change
    if found is not None and BACKEND.converts(facts.job.spec):
        if not resize.converted(facts):
            return replace(
                situation.but(Do.CONVERT, StepReason.CONVERTING, LOOK_AGAIN), resize=found
            )
    elif _a_converter_writes(facts):
        # A wish that was taken back: what it began must be gone before anybody else writes there.
        return situation.but(Do.WAIT, StepReason.STOPPING, LOOK_AGAIN)
    return None


def holds_places(situation: Situation) -> Step | None:
    if placeholder_pods.alive(situation.facts):  # they are those of the attempt
        return situation.but(Do.WAIT, StepReason.CLEARING, LOOK_AGAIN)
    return None


def starts(situation: Situation) -> Step | None:
    before, found = situation.here.attempt, situation.change
    again = StepReason.RESIZING if found is not None else StepReason.RESTARTING
    step = situation.but(Do.START, again if before else StepReason.FIRST, LOOK_AGAIN)
    return replace(step, attempt=before + 1, resize=found)


ENDED: tuple[Rule, ...] = (
    had_failed_before,
    is_out_of_time,
    has_failed_for_good,
    was_interrupted_too_often,
    leaves_pods,
    is_suspended,
    pauses,
    needs_data,
    changes_its_size,
    holds_places,
    starts,
)


def _a_converter_writes(facts: Facts) -> bool:
    return any(p.phase not in OVER for each in facts.conversions for p in each.pods)


def _backoff(situation: Situation) -> float:
    facts, here, last = situation.facts, situation.here, situation.facts.last
    if last is None or last.ended_at is None or here.ending is None:
        return 0.0
    if here.ending.kind == ON_REQUEST and facts.notes.order is not None:
        return 0.0
    before = here.attempt - here.restarts - 1 if here.ending.free else here.restarts - 1
    began = last.started or last.created
    if began is not None and (last.ended_at - began).total_seconds() >= HEALTHY_SECONDS:
        before = 0
    wait = pause(FREE if here.ending.free else COUNTED, before)
    return wait - (facts.now - last.ended_at).total_seconds()
