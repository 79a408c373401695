"""What follows from what was observed, before anything is decided?

Each question that more than one decision asks is answered here, once in a pass: which revision is
asked for, which pods are of it and answer, under which names its children stand, and on which volume
its model lies. Only values; what to do about them is for those who read them.
"""

from dataclasses import dataclass

from preamar.api.inference import InferenceService
from preamar.core.objects import ClaimView
from preamar.core.placement import on_gpu
from preamar.core.plan import Ref
from preamar.core.pods import PodView
from preamar.core.serving.model.previous_spec import earlier, made_of
from preamar.core.serving.model.source import (
    Artefact,
    artefact_of,
    fetch_job,
    is_fetched,
    usable_cache,
)
from preamar.core.serving.observe import REVISION, Observed, children_of, claims_named, has_canary
from preamar.core.serving.pods.desired import edition_of, revision_of
from preamar.core.serving.pods.readiness import down, is_ready, steadies_in


@dataclass(frozen=True, slots=True)
class Facts:
    """What is so of one service."""

    observed: Observed
    service: InferenceService
    revision: str
    """What is asked to run."""
    edition: str
    """All that was written, its size left out."""
    made_of: str
    """What replicas of the revision are made of, as their Deployment remembers it."""
    before: InferenceService | None
    """The service as its Deployment was made; None without one, or where that cannot be read."""
    before_revision: str
    """Of that; empty where there is none."""
    children: tuple[Ref, ...]
    """Where its children are, whether they exist or not; the Deployment's is the first."""
    artefact: Artefact | None
    """The optimised model that is asked for."""
    fetch_job: str
    """The Job that may fetch the model ahead of its replicas; empty where none may."""
    claims: tuple[str, ...]
    """The PersistentVolumeClaims of the user's that it cannot do without."""
    claim: ClaimView | None
    """The volume that the model lies on, or is fetched to."""
    gpu: bool
    grouped: bool
    """Whether one replica is several pods."""
    canary: bool
    """Whether new revisions are tried first."""
    here: tuple[PodView, ...]
    """Replicas of any revision that count: neither ended nor on their way out."""
    current: tuple[PodView, ...]
    """All replicas of the revision."""
    answering: tuple[PodView, ...]
    """Replicas of any revision that answer and are trusted."""
    ready: int
    """How many of them are of the revision."""
    down: tuple[PodView, ...]
    """Replicas of the revision that count and are not among them."""
    steadies_in: float | None
    """Seconds until the next one of the revision is trusted again; None where none is waited for."""
    loaded: bool
    """Whether a replica of the revision is ready or has been."""


def facts_of(observed: Observed) -> Facts:
    """All of them."""
    service, now = observed.service, observed.now
    revision, edition, made = revision_of(service), edition_of(service), made_of(service)
    before = _before(observed, made)
    artefact, fetched_by = artefact_of(service), fetch_job(service)
    claims = claims_named(service)
    pods = observed.pods
    current = tuple([p for p in pods if p.labels.get(REVISION) == revision])
    here = tuple([p for p in pods if not p.deleting and not p.over])
    answering = tuple([p for p in pods if is_ready(p, now)])
    ready = sum(p.labels.get(REVISION) == revision for p in answering)
    waits = [left for left in [steadies_in(p, now) for p in current] if left > 0]
    return Facts(
        observed=observed,
        service=service,
        revision=revision,
        edition=edition,
        made_of=made,
        before=before,
        before_revision=_revision(before, service, revision),
        children=children_of(service, artefact, fetched_by),
        artefact=artefact,
        fetch_job=fetched_by,
        claims=claims,
        claim=_claim(observed, artefact, claims),
        gpu=on_gpu(service.spec.accelerator),
        grouped=service.spec.parallelism.nodes > 1,
        canary=has_canary(service),
        here=here,
        current=current,
        answering=answering,
        ready=ready,
        down=down(current, now),
        steadies_in=min(waits, default=None),
        loaded=service.status.revision == revision or ready > 0,
    )


def _before(observed: Observed, made: str) -> InferenceService | None:
    deployment = observed.deployment
    if deployment is None:
        return None
    if deployment.made_of == made:
        return observed.service
    return earlier(observed.service, deployment.made_of)


def _revision(before: InferenceService | None, service: InferenceService, revision: str) -> str:
    if before is None:
        return ""
    return revision if before is service else revision_of(before)


def _claim(
    observed: Observed, artefact: Artefact | None, claims: tuple[str, ...]
) -> ClaimView | None:
    service, name = observed.service, observed.settings.model_cache_claim
    cache = observed.claims.get(name) if name else None
    if artefact is not None:
        return cache
    if is_fetched(service):
        return usable_cache(service, cache)
    return observed.claims.get(claims[0]) if claims else None
