"""With how many workers should the job go on?

As many as its user wants, or as many as have places, within his bounds: ``LIMITS``, in this order.
Then it may be held at the size of its checkpoint: because such a job cannot change its size at all,
or because going there has failed and the spec was not edited since.
"""

from collections.abc import Callable
from dataclasses import dataclass

from preamar.core.training.annotations import DegradedSize, RefusedResize
from preamar.core.training.attempts.endings import BROKEN, end_of
from preamar.core.training.facts import Conversion, Facts
from preamar.core.training.progress import last_words

Limit = Callable[[Facts, int], int]


@dataclass(frozen=True, slots=True)
class Size:
    """``aim`` is the size that the job should have, ``refused`` says that going there has failed,
    ``workers`` is that of the next attempt; ``fewer`` says why that are not as many as were asked
    for."""

    aim: int
    workers: int
    refused: RefusedResize | None = None
    fewer: DegradedSize | None = None


def where_there_are_places(facts: Facts, proposed: int) -> int:
    """An attempt that was given up named the workers that had places; one that began with fewer
    than were asked for goes on so until more are found."""
    gang, notes, last = facts.job.status.gang, facts.notes, facts.last
    generation = facts.job.metadata.generation
    if gang is not None and (gang.attempt, gang.generation) == (facts.number, generation):
        return min(proposed, gang.fits) if gang.fits else proposed
    if last is None or notes.fewer is None:
        return proposed
    return min(proposed, notes.order.to if notes.order is not None else last.workers)


def within_bounds(facts: Facts, proposed: int) -> int:
    """The user's bounds are the last word: where they leave no room for the places that there are,
    his own number stands."""
    asked = facts.job.spec.workers.replicas
    return proposed if proposed in facts.sizes else asked


LIMITS: tuple[Limit, ...] = (where_there_are_places, within_bounds)


def size_of(facts: Facts) -> Size:
    """The size for now."""
    aim = facts.job.spec.workers.replicas
    for limit in LIMITS:
        aim = limit(facts, aim)
    failed = refused(facts, aim)
    held = failed is not None or bool(facts.fixed)
    workers = facts.kept if held and facts.kept else aim
    return Size(aim, workers, failed, _fewer(facts, aim, workers))


def refused(facts: Facts, aim: int) -> RefusedResize | None:
    """The size that is aimed at, if it failed and the spec was not edited since."""
    now, notes, told = (aim, facts.job.metadata.generation), facts.notes, facts.ending
    if notes.refused is not None and (notes.refused.to, notes.refused.generation) == now:
        return notes.refused
    tried = notes.resize
    broken = told is not None and told.kind == BROKEN
    if told is not None and broken and tried is not None and (tried.to, tried.generation) == now:
        return RefusedResize(tried.to, tried.generation, told.kind, told.explanation)
    for each in facts.conversions:
        tried = each.resize
        if each.view.failed and tried is not None and (tried.to, tried.generation) == now:
            return RefusedResize(tried.to, tried.generation, *_failure(each))
    return None


def largest(sizes: tuple[int, ...], most: int) -> int:
    """The largest of these sizes that needs no more than so many workers; 0 where there is none."""
    return max((n for n in sizes if n <= most), default=0)


def _fewer(facts: Facts, aim: int, workers: int) -> DegradedSize | None:
    asked, gang, before = facts.job.spec.workers.replicas, facts.job.status.gang, facts.notes.fewer
    if workers >= asked or workers != aim:
        return None
    message = gang.explanation if gang is not None else before.message if before is not None else ""
    return DegradedSize(asked, message)


def _failure(conversion: Conversion) -> tuple[str, str]:
    """Why a conversion failed for good: its class and a sentence."""
    ends = [end for pod in conversion.pods if (end := end_of(pod)) is not None]
    for words in last_words([end.message for end in ends]):
        if words is not None and words.failure:
            return words.failure, words.explanation
    view = conversion.view
    return (
        "ConversionFailed",
        f"The conversion of the checkpoint failed: {view.message or view.reason}.",
    )
