"""What must a person settle before this service can have pods?

Judged before anything is made: wishes that cannot be fulfilled, a model name that an older service
has, an object of somebody else's under one of our names, a volume that is missing or cannot be
shared. While one of these holds, what runs already is left as it is.
"""

from enum import StrEnum
from typing import NamedTuple

from preamar.core import volumes
from preamar.core.needs_apply import taken
from preamar.core.serving.model.limits import unserved
from preamar.core.serving.model.source import is_optimized, most_pods
from preamar.core.serving.observe import Observed, Rival, children_named, claims_named, model_name


class Block(StrEnum):
    UNSUPPORTED = "Unsupported"
    NAME_TAKEN = "ModelNameTaken"
    CHILD_TAKEN = "ObjectNameTaken"
    VOLUME_MISSING = volumes.MISSING
    VOLUME_LOST = volumes.LOST
    VOLUME_NOT_SHARED = volumes.NOT_SHARED


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
    if not observed.rivals or observed.service.metadata.creation_timestamp is None:
        return None
    oldest = min(observed.rivals)
    if oldest > Rival.of(observed.service):
        return None
    return Blocked(
        Block.NAME_TAKEN,
        f"The model name {model_name(observed.service)!r} belongs to the older InferenceService "
        f"{oldest.namespace}/{oldest.name}. Choose another spec.model.name in a new resource.",
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
    most = most_pods(service)
    cache = observed.settings.model_cache_claim if is_optimized(service) else ""
    for name in (*claims_named(service), *([cache] if cache else [])):
        use = volumes.Use(
            pods=most,
            who=f"Up to {most} pods mount",
            otherwise="Use one with ReadWriteMany or ReadOnlyMany, or allow one pod at most.",
            create="Create it, for optimised models to be kept on (ReadWriteMany)."
            if name == cache
            else "Create it and put the model there.",
        )
        claim = observed.claims.get(name)
        found = volumes.lacking(name, service.metadata.namespace, claim, use)
        if found is not None:
            return Blocked(Block(found.reason), found.message, LOOK_AGAIN)
    return None
