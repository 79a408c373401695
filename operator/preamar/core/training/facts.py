"""What is known of a job in this pass, beyond what was observed as such?

Each question that more than one decision asks is answered here once, from the ``Observed``: which
attempt is the last, what became of it and what its Job says, which checkpoint is the newest, at which
sizes the job can run. Values only: what follows from them is decided elsewhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from preamar.api.meta import Condition
from preamar.api.training import TrainingJob
from preamar.core.pods import OVER, PodView
from preamar.core.training.annotations import AttemptAnnotations, ResizeRequest
from preamar.core.training.attempts.endings import (
    Ending,
    WorkerExit,
    converters,
    ending,
    exits_of,
    outcomes,
    pods_of,
)
from preamar.core.training.attempts.goodput import Ledger
from preamar.core.training.attempts.saved import newest, world_of
from preamar.core.training.backends.chosen import BACKEND
from preamar.core.training.backends.sizing_problem import SizingProblem
from preamar.core.training.data.preparing import DataReadiness, prepared
from preamar.core.training.observe import JobView, Observed
from preamar.core.training.planner.sizes import problem, valid
from preamar.core.training.progress import ProgressReport, Saved, TerminationMessage
from preamar.protocol.labels import RESIZE

NO_NOTES = AttemptAnnotations()


@dataclass(frozen=True, slots=True)
class Conversion:
    """A Job that converts a checkpoint, the resize that it is for and its pods, the latest first.
    ``done`` says that it has succeeded; its pod knows a second or two before it does."""

    view: JobView
    resize: ResizeRequest | None
    pods: tuple[PodView, ...]
    done: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """All of it. ``number`` is that of the latest attempt that there was, whose Job is ``last``, if
    it is still there; what follows is of that attempt, and empty without it."""

    observed: Observed
    job: TrainingJob
    now: datetime
    before: Mapping[str, Condition]
    """The conditions as they were told last, by type."""
    number: int
    last: JobView | None
    over: bool
    """Whether its controller will start no more pods."""
    notes: AttemptAnnotations
    pods: tuple[PodView, ...]
    running: int
    """Pods that run and are not on their way out."""
    complete: bool
    """Whether every worker has started."""
    exits: tuple[WorkerExit, ...]
    words: tuple[TerminationMessage, ...]
    """The last words of its ranks, rank 0's first."""
    live: ProgressReport | None
    """What rank 0 says of it."""
    ended: bool
    """Whether it has failed."""
    ending: Ending | None
    """How, if it has."""
    resized: int
    """How many attempts began at another size than the one before."""
    saved: Saved | None
    """The newest checkpoint, whoever wrote it."""
    world: int | None
    """The ranks that did."""
    kept: int
    """The workers with which it can be taken up as it is; 0 where there are none."""
    terms: SizingProblem
    sizes: tuple[int, ...]
    """The workers with which the job can run, within its bounds, the smallest first."""
    fixed: str
    """Why its size cannot change once it has trained; empty if it can."""
    conversions: tuple[Conversion, ...]
    data: DataReadiness
    ledger: Ledger | None
    """Where its time went, as the status knows it."""


def facts_of(observed: Observed) -> Facts:
    """The facts of this pass."""
    job, status = observed.job, observed.job.status
    last = max(observed.jobs, key=lambda view: view.attempt, default=None)
    if last is not None and last.attempt < (status.attempt or 0):
        last = None  # the latest is gone
    over = last is not None and (last.complete or last.failed)
    notes = NO_NOTES if last is None else AttemptAnnotations.of(last.annotations)
    pods = () if last is None else pods_of(last, observed.pods)
    exits = exits_of(pods)
    words = outcomes(exits)
    live = observed.progress
    if live is not None and (last is None or live.attempt != last.attempt):
        live = None
    ended = last is not None and _ended(last, notes, pods)
    started = [pod for pod in pods if pod.phase != "Pending"]
    saved = newest(job, words, live)
    world = world_of(job, saved, last)
    terms = SizingProblem.of(job.spec)
    sizes = valid(terms)
    return Facts(
        observed=observed,
        job=job,
        now=observed.now,
        before={condition.type: condition for condition in status.conditions},
        number=last.attempt if last is not None else status.attempt or 0,
        last=last,
        over=over,
        notes=notes,
        pods=pods,
        running=len([p for p in pods if p.phase == "Running" and not p.deleting]),
        complete=last is not None and 0 < last.workers <= len(started),
        exits=exits,
        words=words,
        live=live,
        ended=ended,
        ending=ending(last, pods, exits) if last is not None and ended else None,
        resized=status.resized or 0 if notes.resized is None else notes.resized,
        saved=saved,
        world=world,
        kept=_kept(terms, sizes, world),
        terms=terms,
        sizes=sizes,
        fixed=BACKEND.fixed(terms),
        conversions=tuple([_conversion(observed, view) for view in observed.conversions]),
        data=prepared(observed),
        ledger=Ledger.told(status.goodput),
    )


def _ended(last: JobView, notes: AttemptAnnotations, pods: tuple[PodView, ...]) -> bool:
    """Whether it has failed. Its pods know a second or two before the Job does: the first that
    fails ends all, so once every pod is over there is nothing that its controller may still do."""
    told = notes.order is not None and len(pods) == last.workers
    gone = told and all(p.phase in OVER for p in pods) and any(p.phase == "Failed" for p in pods)
    return last.failed or (gone and not last.complete)


def _kept(terms: SizingProblem, sizes: tuple[int, ...], world: int | None) -> int:
    per = terms.ranks_per_worker
    workers = world // per if world is not None and world % per == 0 else 0
    possible = workers in sizes or (workers > 0 and problem(terms, workers) is None)
    return workers if possible else 0


def _conversion(observed: Observed, view: JobView) -> Conversion:
    pods = converters(view, observed.pods)
    done = any(p.phase == "Succeeded" or p.name in observed.ended for p in pods)
    resize = ResizeRequest.of(view.annotations, RESIZE)
    return Conversion(view, resize, pods, not view.deleting and (view.complete or done))
