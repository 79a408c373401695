"""What must happen before a job goes on with another number of workers?

A running attempt is told to stop at a step; shards that fit another number of ranks are converted
while no accelerator is held; what fails goes back to the size before. An order that was given is
carried out whatever is wished next, so that every order of edits ends at the last of them.
"""

from datetime import timedelta
from typing import NamedTuple

from preamar.core.training.admission.blocks import blocked
from preamar.core.training.annotations import ResizeRequest
from preamar.core.training.attempts.endings import BROKEN, UNCONVERTED
from preamar.core.training.backends.chosen import BACKEND
from preamar.core.training.elastic.degraded_size import LOST
from preamar.core.training.elastic.placeholder_pods import FOUND, PlaceholderPods
from preamar.core.training.elastic.size import Size
from preamar.core.training.facts import Conversion, Facts
from preamar.core.training.observe import JobView
from preamar.core.training.planner.advice import cannot_run
from preamar.protocol.labels import FEWER, REFUSED, RESIZE, RESIZED, STOP

ASKED = "UserAsked"
UNHEARD_SECONDS = 30.0
"""How long an agent may not be reached before its attempt is stopped by deletion."""
OBEYED_SECONDS = 900.0
"""The same for an attempt whose agent took the order and which trains on."""


class Wish(NamedTuple):
    """What a running attempt should be told to stop for, and why it keeps its size where it is not
    the one that was asked for."""

    order: ResizeRequest | None = None
    keeps: str = ""


NONE = Wish()


def order_of(last: JobView) -> ResizeRequest | None:
    """What a running attempt was told to stop for."""
    return ResizeRequest.of(last.annotations, STOP)


def wanted(facts: Facts, last: JobView, size: Size, scouts: PlaceholderPods) -> Wish:
    """The resize for which a running attempt should stop. A wish that cannot be fulfilled, or
    whose attempt could not start, stops nothing: what runs is left alone."""
    asked, found = facts.job.spec.workers.replicas, scouts.found
    wish = found or size.aim
    if last.workers == wish == asked:
        return NONE
    why_not = "" if wish == last.workers else _keeps(facts, size, wish)
    keeps = why_not if asked in {wish, last.workers} else _keeps(facts, size, asked)
    if wish == last.workers or why_not:
        return Wish(None, keeps)
    generation = facts.job.metadata.generation
    return Wish(
        ResizeRequest(last.workers, wish, FOUND if found else ASKED, facts.now, generation), keeps
    )


def _keeps(facts: Facts, size: Size, workers: int) -> str:
    """Why the job does not go on with so many workers; empty if it does."""
    found = cannot_run(facts.terms, workers)
    if found is not None:
        return found.sentence
    if facts.fixed:
        return facts.fixed
    if size.refused is not None:
        return (
            f"The resize to {size.refused.to} was rolled back: {size.refused.message} "
            "Edit the spec to try it again."
        )
    block = blocked(facts, workers)
    return block.message if block is not None else ""


def overdue(facts: Facts, order: ResizeRequest) -> bool:
    """Whether the ranks will not stop by themselves."""
    heard = facts.observed.stop
    if heard is not None and not heard.accepted and heard.seconds >= UNHEARD_SECONDS:
        return True
    return facts.now - order.at >= timedelta(seconds=OBEYED_SECONDS)


def convertible(facts: Facts) -> bool:
    """Whether the checkpoint of an attempt that still has its pods can be converted: its ranks were
    told to stop, have saved and left, and nothing was converted yet."""
    return (
        facts.notes.order is not None
        and any(p.name in facts.observed.ended for p in facts.pods)
        and BACKEND.converts(facts.job.spec)
        and not converted(facts)
    )


def carried_out(facts: Facts, size: Size) -> ResizeRequest | None:
    """The resize that the next attempt is; None if the checkpoint has its size. An attempt that
    failed before its first checkpoint leaves its resize to the next."""
    world, per = facts.world, facts.terms.ranks_per_worker
    if world is None or world == size.workers * per:
        return None
    asked, why = facts.now, LOST if size.fewer is not None else ASKED
    begun = conversion_for(facts, facts.number + 1)
    tried = [facts.notes.resize, facts.notes.order]
    tried += (
        [begun.resize, ResizeRequest.of(begun.view.annotations, STOP)] if begun is not None else []
    )
    for each in tried:
        if each is not None and each.to == size.workers:
            asked, why = min(asked, each.at), each.reason or why
    ended = [w.consumed for w in facts.words if w.outcome == "Stopped" and w.consumed]
    generation, consumed = facts.job.metadata.generation, max(ended, default=None)
    return ResizeRequest(world // per, size.workers, why, asked, generation, consumed)


def size_notes(facts: Facts, size: Size, resize: ResizeRequest | None) -> dict[str, str]:
    """What a new attempt's Job says about its size."""
    notes: dict[str, str] = {}
    if size.fewer is not None:
        notes[FEWER] = size.fewer.text()
    if resize is not None:
        notes[RESIZE] = resize.text()
    if size.refused is not None:
        notes[REFUSED] = size.refused.text()
    before = resize.before if resize is not None else size.workers
    before = facts.last.workers if facts.last is not None else before
    notes[RESIZED] = str(facts.resized + (before != size.workers))
    return notes


def conversion_for(facts: Facts, number: int) -> Conversion | None:
    """The conversion for attempt ``number``, whatever has become of it."""
    return next((each for each in facts.conversions if each.view.conversion == number), None)


def converted(facts: Facts) -> bool:
    """Whether the next attempt can load the checkpoint. What the attempt before could load is
    still there, unless it found it broken."""
    usable = [conversion_for(facts, facts.number + 1)]
    last, tried, told = facts.last, facts.notes.resize, facts.ending
    if last is not None and tried is not None and told is not None:
        same = facts.world == tried.before * facts.terms.ranks_per_worker
        if same and told.kind not in {BROKEN, UNCONVERTED}:
            usable.append(conversion_for(facts, last.attempt))
    return any(each is not None and each.done for each in usable)
