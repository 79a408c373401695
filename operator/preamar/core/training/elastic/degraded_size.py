"""With how many workers can the job go on, where not all find a place?

A node is drained, a spot machine is taken back: an attempt of the old size would hold what is left
and wait. If the scheduler has no place for some, the job goes on with those that have one, at the
largest size that it can run with, and grows again once places were found (``scouts``). Waiting
costs as much as a restart after about a minute, and a restart can be undone; so a job that has
trained already waits no longer than that. One that has not waits the whole deadline of a gang.
"""

from preamar.core.training.elastic.size import largest
from preamar.core.training.facts import Facts
from preamar.core.training.observe import JobView

LOST = "PlacesLost"
SETTLE_SECONDS = 60


def fits(facts: Facts, last: JobView) -> int:
    """The workers with which the job can go on in the places that an incomplete attempt has; 0
    where that is no size of it."""
    size, noted = largest(facts.sizes, facts.running), facts.notes.refused
    generation = facts.job.metadata.generation
    given_up = noted is not None and (noted.to, noted.generation) == (size, generation)
    if facts.fixed or given_up or size >= last.workers:
        return 0
    return size


def patience(facts: Facts, last: JobView) -> int:
    """Seconds from its start until an incomplete attempt is given up."""
    limit = facts.observed.settings.gang_seconds
    missing = [p for p in facts.pods if p.phase == "Pending" and not p.deleting]
    no_place = bool(missing) and all(p.unschedulable for p in missing)
    if no_place and facts.saved is not None and fits(facts, last):
        return min(limit, SETTLE_SECONDS)
    return limit
