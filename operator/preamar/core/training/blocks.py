"""What must a person settle before this job can start an attempt?

Wishes that cannot be fulfilled, a batch that cannot be split, an object of somebody else's under
one of our names, a volume that is missing or that several workers cannot share.
"""

from enum import StrEnum
from typing import NamedTuple

from preamar.api.uri import ModelUri
from preamar.core.due import taken
from preamar.core.training.limits import stops
from preamar.core.training.observe import Observed, children_named, claims_named
from preamar.core.training.sizes import cannot_split


class Block(StrEnum):
    UNSUPPORTED = "Unsupported"
    BATCH = "BatchNotDivisible"
    CHILD_TAKEN = "ObjectNameTaken"
    VOLUME_MISSING = "VolumeMissing"
    VOLUME_LOST = "VolumeLost"
    VOLUME_NOT_SHARED = "VolumeNotShared"
    VOLUME_READ_ONLY = "VolumeReadOnly"


class Blocked(NamedTuple):
    reason: Block
    message: str
    recheck_in: float | None
    """Volumes and strangers' objects are not watched; None where an edit is what is missing."""


LOOK_AGAIN = 10.0


def blocked(observed: Observed) -> Blocked | None:
    """The first thing that stands in the way."""
    job = observed.job
    sentence = stops(job)
    if sentence:
        return Blocked(Block.UNSUPPORTED, sentence, None)
    sentence = cannot_split(job.spec)
    if sentence:
        return Blocked(Block.BATCH, sentence, None)
    ref = taken(children_named(job, observed.jobs), job.metadata.uid, observed.children)
    if ref is not None:
        return Blocked(
            Block.CHILD_TAKEN,
            f"A {ref.kind} called {ref.name} exists and does not belong to this resource. Remove "
            "it, or give the TrainingJob another name.",
            LOOK_AGAIN,
        )
    for name in claims_named(job):
        found = _volume(observed, name)
        if found is not None:
            return found
    return None


def _volume(observed: Observed, name: str) -> Blocked | None:
    claim, workers = observed.claims.get(name), observed.job.spec.workers.replicas
    if claim is None or claim.deleting:
        return Blocked(
            Block.VOLUME_MISSING,
            f"The PersistentVolumeClaim {name!r} does not exist in namespace "
            f"{observed.job.metadata.namespace}. Create it.",
            LOOK_AGAIN,
        )
    if claim.phase == "Lost":
        return Blocked(
            Block.VOLUME_LOST,
            f"The PersistentVolumeClaim {name!r} has lost its volume. Restore or replace it.",
            LOOK_AGAIN,
        )
    modes, told = set(claim.access_modes), ", ".join(claim.access_modes) or "none"
    if name in _written(observed) and modes <= {"ReadOnlyMany"}:
        return Blocked(
            Block.VOLUME_READ_ONLY,
            f"The PersistentVolumeClaim {name!r} is written to, and its access modes ({told}) "
            "allow reading only.",
            LOOK_AGAIN,
        )
    if workers > 1 and not {"ReadWriteMany", "ReadOnlyMany"} & modes:
        return Blocked(
            Block.VOLUME_NOT_SHARED,
            f"{workers} workers mount the PersistentVolumeClaim {name!r}, whose access modes "
            f"({told}) allow one node. Use one with ReadWriteMany, or one worker.",
            LOOK_AGAIN,
        )
    return None


def _written(observed: Observed) -> set[str | None]:
    spec = observed.job.spec
    targets = [spec.checkpoint.uri, *([spec.export.uri] if spec.export else [])]
    return {ModelUri.parse(uri).claim for uri in targets}
