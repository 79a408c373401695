"""With how many workers does the job go on, and what must happen before?

The user's number, or as many as have places (``places``), unless the checkpoint cannot be taken
there or the last try failed. A running
attempt is told to stop at a step; shards that fit another number of ranks are converted while no
accelerator is held; what fails goes back to the size before. An order that was given is carried
out whatever is wished next, so that every order of edits ends at the last of them.
"""

from datetime import timedelta

from preamar.api.recipe import TrainingPrecision
from preamar.core.training.admission.blocks import blocked
from preamar.core.training.annotations import REFUSED, RESIZE, RESIZED, STOP, Refused, Resize
from preamar.core.training.attempts.endings import (
    BROKEN,
    UNCONVERTED,
    Ending,
    converters,
    end_of,
    outcomes,
    pods_of,
)
from preamar.core.training.attempts.saved import world_of
from preamar.core.training.elastic import degraded_size, placeholder_pods
from preamar.core.training.observe import JobView, Observed
from preamar.core.training.planner.advice import cannot_run
from preamar.core.training.planner.parallelism import fixed
from preamar.core.training.planner.sizes import split
from preamar.core.training.planner.sizing_problem import Terms
from preamar.core.training.progress import Outcome

ASKED = "UserAsked"
UNHEARD_SECONDS = 30.0
"""How long an agent may not be reached before its attempt is stopped by deletion."""
OBEYED_SECONDS = 900.0
"""The same for an attempt whose agent took the order and which trains on."""


def order_of(last: JobView) -> Resize | None:
    """What a running attempt was told to stop for."""
    return Resize.of(last.annotations, STOP)


def wanted(observed: Observed, last: JobView) -> Resize | None:
    """The resize for which a running attempt should stop. A wish that cannot be fulfilled, or
    whose attempt could not start, stops nothing: what runs is left alone."""
    spec = observed.job.spec
    found, terms = placeholder_pods.found(observed, last), Terms.of(spec)
    wish = found or degraded_size.aim(observed, last)
    if wish == last.workers or why_not(observed, last) or cannot_run(terms, wish):
        return None
    if blocked(observed, wish) is not None:
        return None
    generation = observed.job.metadata.generation
    why = placeholder_pods.FOUND if found else ASKED
    return Resize(last.workers, wish, why, observed.now, generation)


def why_not(observed: Observed, last: JobView | None) -> str:
    """Why the user's size is not tried, although the job could run with it; empty if it is."""
    sentence = fixed(Terms.of(observed.job.spec))
    if sentence:
        return sentence
    found = refused(observed, last)
    if found is None:
        return ""
    return (
        f"The resize to {found.to} was rolled back: {found.message} Edit the spec to try it again."
    )


def overdue(observed: Observed, order: Resize) -> bool:
    """Whether the ranks will not stop by themselves."""
    heard = observed.stop
    if heard is not None and not heard.accepted and heard.seconds >= UNHEARD_SECONDS:
        return True
    return observed.now - order.at >= timedelta(seconds=OBEYED_SECONDS)


def convertible(observed: Observed, last: JobView, workers: int) -> bool:
    """Whether the checkpoint of an attempt that still has its pods can be converted: its ranks
    were told to stop, have saved and left, and nothing was converted yet."""
    number = last.attempt + 1
    return (
        order_of(last) is not None
        and any(p.name in observed.ended for p in pods_of(last, observed.pods))
        and needs_conversion(observed)
        and carried_out(observed, last, number, workers) is not None
        and not converted(observed, last, None, number)
    )


def next_size(observed: Observed, last: JobView | None, told: Ending | None) -> int:
    """The workers of the next attempt."""
    spec = observed.job.spec
    wish, per, world = (
        degraded_size.aim(observed, last),
        spec.workers.ranks_per_worker,
        world_of(observed, last),
    )
    if world is None or world == wish * per:
        return wish
    kept = world // per if world % per == 0 else 0
    terms = Terms.of(spec)
    if not split(terms, kept):
        return wish
    if fixed(terms) or refused(observed, last, told) is not None:
        return kept
    return wish


def refused(observed: Observed, last: JobView | None, told: Ending | None = None) -> Refused | None:
    """The size that is aimed at, if it failed and the spec was not edited since."""
    now = (degraded_size.aim(observed, last), observed.job.metadata.generation)
    if last is not None:
        noted = Refused.of(last.annotations)
        if noted is not None and (noted.to, noted.generation) == now:
            return noted
        tried = Resize.of(last.annotations, RESIZE)
        if told is not None and told.kind == BROKEN and tried is not None:
            found = Refused(tried.to, tried.generation, told.kind, told.explanation)
            if (found.to, found.generation) == now:
                return found
    for view in observed.conversions:
        tried = Resize.of(view.annotations, RESIZE)
        if view.failed and tried is not None and (tried.to, tried.generation) == now:
            kind, sentence = conversion_failure(observed, view)
            return Refused(tried.to, tried.generation, kind, sentence)
    return None


def conversion_failure(observed: Observed, view: JobView) -> tuple[str, str]:
    """Why a conversion failed for good: its class and a sentence."""
    for pod in converters(view, observed.pods):
        end = end_of(pod)
        words = Outcome.of(end.message) if end else None
        if words is not None and words.failure:
            return words.failure, words.explanation
    return (
        "ConversionFailed",
        f"The conversion of the checkpoint failed: {view.message or view.reason}.",
    )


def carried_out(
    observed: Observed, last: JobView | None, number: int, workers: int
) -> Resize | None:
    """The resize that attempt ``number`` is with so many workers; None if the checkpoint has that
    size. An attempt that failed before its first checkpoint leaves its resize to the next."""
    spec, world = observed.job.spec, world_of(observed, last)
    per = spec.workers.ranks_per_worker
    if world is None or world == workers * per:
        return None
    asked, why = (
        observed.now,
        degraded_size.LOST if degraded_size.note(observed, last, workers) else ASKED,
    )
    for view in (last, conversion(observed, number)):
        for name in (RESIZE, STOP):
            tried = Resize.of(view.annotations, name) if view is not None else None
            if tried is not None and tried.to == workers:
                asked, why = min(asked, tried.at), tried.reason or why
    words = outcomes(last, observed.pods) if last is not None else ()
    ended = [w.consumed for w in words if w.outcome == "Stopped" and w.consumed]
    return Resize(
        world // per,
        workers,
        why,
        asked,
        observed.job.metadata.generation,
        max(ended) if ended else None,
    )


def size_notes(
    observed: Observed, last: JobView | None, number: int, workers: int, told: Ending | None
) -> dict[str, str]:
    """What a new attempt's Job says about its size."""
    notes: dict[str, str] = dict(degraded_size.note(observed, last, workers))
    wish = carried_out(observed, last, number, workers)
    if wish is not None:
        notes[RESIZE] = wish.text()
    given_up = refused(observed, last, told)
    if given_up is not None:
        notes[REFUSED] = given_up.text()
    count = resized_before(observed, last)
    size_before = last.workers if last is not None else wish.before if wish is not None else workers
    notes[RESIZED] = str(count + (size_before != workers))
    return notes


def resized_before(observed: Observed, last: JobView | None) -> int:
    """How many attempts began at another size than the one before."""
    text = last.annotations.get(RESIZED, "") if last else ""
    return int(text) if text.isdecimal() else observed.job.status.resized or 0


def conversion(observed: Observed, number: int) -> JobView | None:
    """The conversion for attempt ``number``, whatever has become of it."""
    return next((view for view in observed.conversions if view.conversion == number), None)


def converted(observed: Observed, last: JobView | None, told: Ending | None, number: int) -> bool:
    """Whether attempt ``number`` can load the checkpoint. What the attempt before could load is
    still there, unless it found it broken."""
    usable = [conversion(observed, number)]
    tried = Resize.of(last.annotations, RESIZE) if last is not None else None
    if last is not None and tried is not None and told is not None:
        per = observed.job.spec.workers.ranks_per_worker
        if (
            told.kind not in {BROKEN, UNCONVERTED}
            and world_of(observed, last) == tried.before * per
        ):
            usable.append(conversion(observed, last.attempt))
    return any(view is not None and over_well(view, observed) for view in usable)


def over_well(view: JobView, observed: Observed) -> bool:
    """Whether a conversion has succeeded. Its pod knows a second or two before its Job does, and
    says it before its status does."""
    pods = converters(view, observed.pods)
    done = any(p.phase == "Succeeded" or p.name in observed.ended for p in pods)
    return not view.deleting and (view.complete or done)


def needs_conversion(observed: Observed) -> bool:
    """Whether shards fit one number of ranks only. Without ZeRO, in FP32, each rank holds all."""
    spec = observed.job.spec
    return spec.parallelism.zero_stage > 0 or spec.precision != TrainingPrecision.FP32
