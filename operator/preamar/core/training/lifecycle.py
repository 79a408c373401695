"""What should the job do next: wait, start an attempt, train on, stop, or end?

At most one attempt has pods at any time: the next starts when every pod of the earlier ones is
over. Failures count against the user's limit, by their class (``policy``); what is nobody's fault
does not, but is bounded too, and both wait a while first; a resize counts nowhere and waits for
nothing. A job that has succeeded never starts again. Else the first rule that has an answer gives
it: of ``RUNNING`` while the last attempt runs, else of ``ENDED``.
"""

from dataclasses import replace
from datetime import timedelta

from preamar.core.timestamps import moment
from preamar.core.training.admission.blocks import blocked
from preamar.core.training.attempts.policy import NONE_IN_A_ROW, Streak
from preamar.core.training.elastic import gang, placeholder_pods, resize
from preamar.core.training.elastic.size import size_of
from preamar.core.training.facts import Facts
from preamar.core.training.planner.sizes import split
from preamar.core.training.rules.ended import ENDED
from preamar.core.training.rules.running import RUNNING
from preamar.core.training.rules.situation import Situation
from preamar.core.training.step import Do, Step, StepReason


def next_step(facts: Facts) -> Step:
    """The next step, from what is there."""
    here, last, told = _here(facts), facts.last, facts.before.get("Succeeded")
    succeeded = told is not None and told.status == "True"
    if succeeded or (last is not None and last.complete):
        situation = Situation(facts, here)
        return _whole(situation, replace(here, do=Do.SUCCEED, why=StepReason.DONE))
    left, change = _deadline_in(facts), resize.carried_out(facts, here.size)
    late = left is not None and left <= 0
    situation, rules = Situation(facts, here, left, late, change), ENDED
    if last is not None and not facts.over and not facts.ended:
        scouts = placeholder_pods.scouts_of(facts)
        wish = resize.wanted(facts, last, here.size, scouts)
        patience = gang.seconds_left(facts, last)
        situation = replace(situation, scouts=scouts, wish=wish, patience=patience)
        rules = RUNNING
    for rule in rules:
        answer = rule(situation)
        if answer is not None:
            return _whole(situation, answer)
    raise AssertionError("the last rule always answers")


def _here(facts: Facts) -> Step:
    counted, streak, told = counted_before(facts), streak_before(facts), facts.ending
    if told is not None and not told.free:
        counted += 1
        streak = streak.after(told.kind, told.step)
    size = size_of(facts)
    return Step(
        Do.WAIT,
        StepReason.RESTARTING,
        facts.number,
        size.workers,
        counted,
        size,
        told,
        streak=streak,
    )


def _whole(situation: Situation, step: Step) -> Step:
    """With all that follows from what is to be done."""
    facts, scouts = situation.facts, situation.scouts
    last = facts.last
    if step.do in {Do.START, Do.PREPARE, Do.CONVERT}:
        step = replace(step, block=blocked(facts, step.workers))
    if step.do == Do.START and step.block is None:
        step = replace(step, split=split(facts.terms, step.workers))
    if step.do == Do.CONVERT and resize.conversion_for(facts, facts.number + 1) is None:
        step = replace(step, conversion=step.resize)
    if step.do == Do.TRAIN:
        looks = scouts.missing if scouts.view is None else 0
        news = placeholder_pods.given_back(facts) if scouts.useless else None
        step = replace(step, keeps=situation.wish.keeps, looks=looks, gang=news)
    if step.do == Do.STOP and step.why == StepReason.GANG and last is not None:
        step = replace(step, gang=gang.given_up(facts, last))
    if not facts.observed.scouts:
        return step
    looking = (
        step.do in {Do.TRAIN, Do.ORDER, Do.CONVERT, Do.WAIT} and step.why != StepReason.CLEARING
    )
    return replace(step, dismissed=placeholder_pods.dismissed(facts, scouts, looking=looking))


def counted_before(facts: Facts) -> int:
    """Restarts that counted before the last attempt; from status if that is gone."""
    known = facts.notes.restarts
    return facts.job.status.restarts or 0 if known is None else known


def streak_before(facts: Facts) -> Streak:
    """Failures in a row at one place before the last attempt; from status if that is gone."""
    if facts.last is not None:
        return Streak.parse(facts.notes.streak) if facts.notes.streak else NONE_IN_A_ROW
    failure = facts.job.status.failure
    return Streak(failure.times or 0, failure.step) if failure else NONE_IN_A_ROW


def _deadline_in(facts: Facts) -> float | None:
    """Seconds until the job must have ended, from the start of its first attempt."""
    limit = facts.job.spec.active_deadline_seconds
    started = moment(facts.job.status.started_at) if limit is not None else None
    if limit is None or started is None:
        return None
    return (started + timedelta(seconds=limit) - facts.now).total_seconds()
