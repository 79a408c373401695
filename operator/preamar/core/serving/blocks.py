"""What must a person settle before this service can have pods?

Judged before anything is made: wishes that cannot be fulfilled, a model name that an older service
has, an object of somebody else's under one of our names, a volume that is missing or cannot be
shared. While one of these holds, what runs already is left as it is.
"""

from enum import StrEnum
from typing import NamedTuple

from preamar.core.needs_apply import taken
from preamar.core.serving.model.limits import unserved
from preamar.core.serving.model.source import is_optimized, most_pods
from preamar.core.serving.observe import Observed, children_named, claims_named
from preamar.core.serving.pods.desired import shareable
from preamar.protocol.ownership import Claimant, owner


class Block(StrEnum):
    UNSUPPORTED = "Unsupported"
    NAME_TAKEN = "ModelNameTaken"
    CHILD_TAKEN = "ObjectNameTaken"
    VOLUME_MISSING = "VolumeMissing"
    VOLUME_LOST = "VolumeLost"
    VOLUME_NOT_SHARED = "VolumeNotShared"


class Blocked(NamedTuple):
    reason: Block
    message: str
    recheck_in: float | None
    """Volumes and strangers' objects are not watched; None where an edit is what is missing."""


LOOK_AGAIN = 10.0


def blocked(observed: Observed) -> Blocked | None:
    """The first thing that stands in the way."""
    for judge in (_unsupported, _rivalled, _taken, _volume):
        found = judge(observed)
        if found is not None:
            return found
    return None


def _unsupported(observed: Observed) -> Blocked | None:
    sentence = unserved(observed.service)
    if not sentence and is_optimized(observed.service) and not observed.settings.model_cache_claim:
        sentence = "This installation keeps no optimised models: models.cache.claimName is empty."
    return Blocked(Block.UNSUPPORTED, sentence, None) if sentence else None


def _rivalled(observed: Observed) -> Blocked | None:
    metadata = observed.service.metadata
    if not observed.rivals or metadata.creation_timestamp is None:
        return None
    claimant = Claimant.of(metadata.model_dump(by_alias=True, mode="json"))
    holder = owner((claimant, *observed.rivals))
    if holder == claimant:
        return None
    return Blocked(
        Block.NAME_TAKEN,
        f"The model name {observed.service.model_name!r} belongs to the older InferenceService "
        f"{holder.namespace}/{holder.name}. Choose another spec.model.name in a new resource.",
        30.0,
    )


def _taken(observed: Observed) -> Blocked | None:
    service = observed.service
    ref = taken(children_named(service), service.metadata.uid, observed.children)
    if ref is None:
        return None
    return Blocked(
        Block.CHILD_TAKEN,
        f"A {ref.kind} called {ref.name} exists and does not belong to this resource. Remove it, "
        "or give the InferenceService another name.",
        LOOK_AGAIN,
    )


def _volume(observed: Observed) -> Blocked | None:
    service = observed.service
    cache = observed.settings.model_cache_claim if is_optimized(service) else ""
    for name in (*claims_named(service), *([cache] if cache else [])):
        claim = observed.claims.get(name)
        if claim is None or claim.deleting:
            return Blocked(
                Block.VOLUME_MISSING,
                f"The PersistentVolumeClaim {name!r} does not exist in namespace "
                f"{service.metadata.namespace}. "
                + (
                    "Create it, for optimised models to be kept on (ReadWriteMany)."
                    if name == cache
                    else "Create it and put the model there."
                ),
                LOOK_AGAIN,
            )
        if claim.phase == "Lost":
            return Blocked(
                Block.VOLUME_LOST,
                f"The PersistentVolumeClaim {name!r} has lost its volume. Restore or replace it.",
                LOOK_AGAIN,
            )
        most = most_pods(observed.service)
        if most > 1 and not shareable(claim):
            modes = ", ".join(claim.access_modes) or "none"
            return Blocked(
                Block.VOLUME_NOT_SHARED,
                f"Up to {most} pods mount the PersistentVolumeClaim {name!r}, whose access "
                f"modes ({modes}) allow one node. Use one with ReadWriteMany or ReadOnlyMany, or "
                "allow one pod at most.",
                LOOK_AGAIN,
            )
    return None
