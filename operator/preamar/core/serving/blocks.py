"""What must a person settle before this service can have pods?

Judged before anything is made: wishes that cannot be fulfilled, a model name that an older service
has, an object of somebody else's under one of our names, a volume that is missing or cannot be
shared. While one of these holds, what runs already is left as it is.
"""

from enum import StrEnum

from preamar.core import volumes
from preamar.core.needs_apply import taken
from preamar.core.serving.facts import Facts
from preamar.core.serving.model.limits import unserved
from preamar.core.serving.model.source import most_pods
from preamar.core.trouble import Blocked
from preamar.protocol.ownership import Claimant, owner


class ServingBlock(StrEnum):
    UNSUPPORTED = "Unsupported"
    NAME_TAKEN = "ModelNameTaken"
    CHILD_TAKEN = "ObjectNameTaken"
    VOLUME_MISSING = volumes.MISSING
    VOLUME_LOST = volumes.LOST
    VOLUME_NOT_SHARED = volumes.NOT_SHARED


LOOK_AGAIN = 10.0


def blocked(facts: Facts) -> Blocked | None:
    """The first thing that stands in the way."""
    for judge in (_unsupported, _rivalled, _taken, _volume):
        found = judge(facts)
        if found is not None:
            return found
    return None


def _unsupported(facts: Facts) -> Blocked | None:
    sentence, cache = unserved(facts.service), facts.observed.settings.model_cache_claim
    if not sentence and facts.artefact is not None and not cache:
        sentence = "This installation keeps no optimised models: models.cache.claimName is empty."
    return Blocked(ServingBlock.UNSUPPORTED, sentence, None) if sentence else None


def _rivalled(facts: Facts) -> Blocked | None:
    observed = facts.observed
    metadata = observed.service.metadata
    if not observed.rivals or metadata.creation_timestamp is None:
        return None
    claimant = Claimant.of(metadata.model_dump(by_alias=True, mode="json"))
    holder = owner((claimant, *observed.rivals))
    if holder == claimant:
        return None
    return Blocked(
        ServingBlock.NAME_TAKEN,
        f"The model name {observed.service.model_name!r} belongs to the older InferenceService "
        f"{holder.namespace}/{holder.name}. Choose another spec.model.name in a new resource.",
        30.0,
    )


def _taken(facts: Facts) -> Blocked | None:
    ref = taken(facts.children, facts.service.metadata.uid, facts.observed.children)
    if ref is None:
        return None
    return Blocked(
        ServingBlock.CHILD_TAKEN,
        f"A {ref.kind} called {ref.name} exists and does not belong to this resource. Remove it, "
        "or give the InferenceService another name.",
        LOOK_AGAIN,
    )


def _volume(facts: Facts) -> Blocked | None:
    observed, service = facts.observed, facts.service
    most = most_pods(service)
    cache = observed.settings.model_cache_claim if facts.artefact is not None else ""
    for name in (*facts.claims, *([cache] if cache else [])):
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
            return Blocked(ServingBlock(found.reason), found.message, LOOK_AGAIN)
    return None
