"""What must a person settle before this job can start an attempt?

Wishes that cannot be fulfilled, a size at which the job cannot run, an object of somebody else's
under one of our names, a volume that is missing or that several workers cannot share.
"""

from enum import StrEnum

from preamar.api.fields.uri import ModelUri
from preamar.core import volumes
from preamar.core.needs_apply import taken
from preamar.core.training.admission.affordable import Unaffordable, refused
from preamar.core.training.admission.limits import stops
from preamar.core.training.data.preparing import DataState
from preamar.core.training.facts import Facts
from preamar.core.training.observe import Observed, children_named, claims_named
from preamar.core.training.planner.advice import cannot_run
from preamar.core.training.planner.quote import measured, quote
from preamar.core.trouble import Blocked


class TrainingBlock(StrEnum):
    UNSUPPORTED = "Unsupported"
    CHILD_TAKEN = "ObjectNameTaken"
    VOLUME_MISSING = volumes.MISSING
    VOLUME_LOST = volumes.LOST
    VOLUME_NOT_SHARED = volumes.NOT_SHARED
    VOLUME_READ_ONLY = volumes.READ_ONLY


LOOK_AGAIN = 10.0


def blocked(facts: Facts, workers: int) -> Blocked | None:
    """The first thing that stands in the way of an attempt with so many workers."""
    job, observed = facts.job, facts.observed
    sentence = stops(job)
    if sentence:
        return Blocked(TrainingBlock.UNSUPPORTED, sentence, None)
    # What is asked for comes first. The size of a checkpoint may differ from it, and an edit may
    # have made that one impossible.
    for size in dict.fromkeys((job.spec.workers.replicas, workers)):
        found = cannot_run(facts.terms, size)
        if found is not None:
            return Blocked(found.reason, found.sentence, None)
    beyond = _beyond(facts, workers)
    if beyond is not None:
        return Blocked(beyond.reason, beyond.sentence, None)
    ref = taken(children_named(job, observed.jobs), job.metadata.uid, observed.children)
    if ref is not None:
        return Blocked(
            TrainingBlock.CHILD_TAKEN,
            f"A {ref.kind} called {ref.name} exists and does not belong to this resource. Remove "
            "it, or give the TrainingJob another name.",
            LOOK_AGAIN,
        )
    volume = _volume(observed)
    if volume is not None:
        return volume
    if facts.data.stand == DataState.FAILED:
        return Blocked(facts.data.kind, facts.data.sentence, None)
    return None


def _beyond(facts: Facts, workers: int) -> Unaffordable | None:
    job = facts.job
    if job.spec.budget is None and not job.spec.finish_by:
        return None
    speed = measured(job.status, None, None)
    offer = quote(job.spec, workers, facts.observed.settings.fleet, speed, facts.terms)
    return refused(job, offer, facts.now)


def _volume(observed: Observed) -> Blocked | None:
    spec, written = observed.job.spec, _written(observed)
    workers = max(spec.workers.replicas, spec.data.prepare.workers if spec.data.prepare else 1)
    for name in claims_named(observed.job):
        use = volumes.Use(
            pods=workers,
            who=f"{workers} workers mount",
            otherwise="Use one with ReadWriteMany, or one worker.",
            create="Create it.",
            written=name in written,
        )
        namespace, claim = observed.job.metadata.namespace, observed.claims.get(name)
        found = volumes.lacking(name, namespace, claim, use)
        if found is not None:
            return Blocked(found.reason, found.message, LOOK_AGAIN)
    return None


def _written(observed: Observed) -> set[str | None]:
    spec = observed.job.spec
    targets = [spec.checkpoint.uri, *([spec.export.uri] if spec.export else [])]
    targets += [spec.data.prepare.target] if spec.data.prepare else []
    return {ModelUri.parse(uri).claim for uri in targets}
