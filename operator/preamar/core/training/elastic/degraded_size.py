"""With how many workers can the job go on, where not all find a place?

A node is drained, a spot machine is taken back: an attempt of the old size would hold what is left
and wait. If the scheduler has no place for some, the job goes on with those that have one, at the
largest size that it can run with, and grows again once places were found (``scouts``). Waiting
costs as much as a restart after about a minute, and a restart can be undone; so a job that has
trained already waits no longer than that. One that has not waits the whole deadline of a gang.
"""

from dataclasses import dataclass
from json import dumps
from typing import Self

from preamar.core.training.annotations import FEWER, STOP, Refused, Resize, count, words
from preamar.core.training.attempts.endings import pods_of
from preamar.core.training.attempts.saved import newest
from preamar.core.training.observe import JobView, Observed
from preamar.core.training.planner.parallelism import fixed
from preamar.core.training.planner.sizes import valid
from preamar.core.training.planner.sizing_problem import Terms

LOST = "PlacesLost"
SETTLE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Fewer:
    """Why an attempt has fewer workers than were asked for."""

    wish: int
    message: str

    @classmethod
    def of(cls, last: JobView | None) -> Self | None:
        found = words(last.annotations.get(FEWER)) if last is not None else {}
        wish, message = count(found.get("wish")), found.get("message")
        if wish is None:
            return None
        return cls(wish, message if isinstance(message, str) else "")

    def text(self) -> str:
        return dumps({"wish": self.wish, "message": self.message}, sort_keys=True)


def fits(observed: Observed, last: JobView) -> int:
    """The workers with which the job can go on in the places that an incomplete attempt has; 0
    where that is no size of it."""
    spec = observed.job.spec
    terms, noted = Terms.of(spec), Refused.of(last.annotations)
    started = [p for p in pods_of(last, observed.pods) if not p.deleting and p.phase == "Running"]
    size = largest(terms, len(started))
    given_up = noted is not None and (noted.to, noted.generation) == (
        size,
        observed.job.metadata.generation,
    )
    if fixed(terms) or given_up or size >= last.workers:
        return 0
    return size


def patience(observed: Observed, last: JobView) -> int:
    """Seconds from its start until an incomplete attempt is given up."""
    limit = observed.settings.gang_seconds
    missing = [p for p in pods_of(last, observed.pods) if p.phase == "Pending" and not p.deleting]
    no_place = bool(missing) and all(p.unschedulable for p in missing)
    if no_place and newest(observed, last) is not None and fits(observed, last):
        return min(limit, SETTLE_SECONDS)
    return limit


def aim(observed: Observed, last: JobView | None) -> int:
    """The workers that the job should have: as many as the user wants, or those that have places."""
    job = observed.job
    wish, gang = job.spec.workers.replicas, job.status.gang
    number = max(job.status.attempt or 0, last.attempt if last is not None else 0)
    limit = 0
    if gang is not None and (gang.attempt, gang.generation) == (number, job.metadata.generation):
        limit = gang.fits or 0
    elif last is not None and Fewer.of(last) is not None:
        order = Resize.of(last.annotations, STOP)
        limit = order.to if order is not None else last.workers
    return min(wish, limit) if limit in valid(Terms.of(job.spec)) else wish


def note(observed: Observed, last: JobView | None, workers: int) -> dict[str, str]:
    """What a new attempt says, if it has fewer workers than were asked for."""
    wish, gang, before = (
        observed.job.spec.workers.replicas,
        observed.job.status.gang,
        Fewer.of(last),
    )
    if workers >= wish or workers != aim(observed, last):
        return {}
    message = gang.explanation if gang is not None else before.message if before is not None else ""
    return {FEWER: Fewer(wish, message).text()}


def largest(terms: Terms, most: int) -> int:
    """The largest size that needs no more than so many workers; 0 where there is none."""
    return max((n for n in valid(terms) if n <= most), default=0)
