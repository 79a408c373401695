"""What comes next while the last attempt runs?

The rules of ``RUNNING`` in their order; the first that has an answer gives it, the last always does.
"""

from dataclasses import replace

from preamar.core.training.elastic import resize
from preamar.core.training.facts import Facts
from preamar.core.training.rules.situation import LOOK_AGAIN, Rule, Situation
from preamar.core.training.step import Do, Step, StepReason


def is_on_its_way_out(situation: Situation) -> Step | None:
    last = situation.facts.last
    if last is not None and last.deleting:
        return situation.but(Do.WAIT, StepReason.STOPPING, LOOK_AGAIN)
    return None


def has_saved_for_another_size(situation: Situation) -> Step | None:
    facts = situation.facts
    if facts.job.spec.suspend or situation.out_of_time or situation.change is None:
        return None
    if not resize.convertible(facts):
        return None
    return replace(
        situation.but(Do.CONVERT, StepReason.CONVERTING, LOOK_AGAIN), resize=situation.change
    )


def is_failing(situation: Situation) -> Step | None:
    facts = situation.facts
    last = facts.last
    # Its controller ends the others by itself; deleting it now would hide why it failed.
    if (last is not None and last.failing) or any(p.phase == "Failed" for p in facts.pods):
        return situation.but(Do.TRAIN, StepReason.TRAINING, LOOK_AGAIN)
    return None


def should_rest(situation: Situation) -> Step | None:
    if situation.facts.job.spec.suspend:
        return situation.but(Do.STOP, StepReason.SUSPENDED)
    return None


def must_stop(situation: Situation) -> Step | None:
    return situation.but(Do.STOP, StepReason.DEADLINE) if situation.out_of_time else None


def was_told_to_stop(situation: Situation) -> Step | None:
    order = situation.facts.notes.order
    if order is None:
        return None
    if resize.overdue(situation.facts, order):
        return situation.but(Do.STOP, StepReason.RESIZING)
    return situation.but(Do.TRAIN, StepReason.RESIZING, LOOK_AGAIN)


def should_have_another_size(situation: Situation) -> Step | None:
    order, facts = situation.wish.order, situation.facts
    if order is None:
        return None
    if _never_began(facts):
        # Nothing is lost by starting anew, and the wanted size may be one that fits.
        return situation.but(Do.STOP, StepReason.RESIZED)
    return replace(situation.but(Do.ORDER, StepReason.RESIZING, LOOK_AGAIN), order=order)


def is_incomplete(situation: Situation) -> Step | None:
    if situation.patience is not None and situation.patience <= 0:
        return situation.but(Do.STOP, StepReason.GANG)
    return None


def trains(situation: Situation) -> Step | None:
    moments = (situation.left, situation.patience, situation.scouts.recheck_in)
    soonest = min((each for each in moments if each is not None), default=None)
    return situation.but(Do.TRAIN, StepReason.TRAINING, soonest)


RUNNING: tuple[Rule, ...] = (
    is_on_its_way_out,
    has_saved_for_another_size,
    is_failing,
    should_rest,
    must_stop,
    was_told_to_stop,
    should_have_another_size,
    is_incomplete,
    trains,
)


def _never_began(facts: Facts) -> bool:
    """Nothing trains until all run, and who has run is never pending again."""
    begun = facts.last is not None and facts.last.succeeded
    return not begun and (not facts.pods or any(p.phase == "Pending" for p in facts.pods))
