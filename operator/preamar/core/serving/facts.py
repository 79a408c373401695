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
    volume_of,
)
from preamar.core.serving.observe import Observed, children_of, claims_named, has_canary
from preamar.core.serving.pods.desired import identity_of, revision_of
from preamar.core.serving.pods.readiness import down, next_steady, up
from preamar.protocol.labels import REVISION


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
    before_revision: str | None
    """Of that."""
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
    service, now, pods = observed.service, observed.now, observed.pods
    (revision, edition), made = identity_of(service), made_of(service)
    deployment, before, before_revision = observed.deployment, None, None
    if deployment is not None and deployment.made_of == made:
        before, before_revision = service, revision
    elif deployment is not None:
        before = earlier(service, deployment.made_of)
        before_revision = revision_of(before) if before is not None else None
    canary, claims = has_canary(service), claims_named(service)
    artefact, fetched_by = artefact_of(service), fetch_job(service)
    cache = observed.settings.model_cache_claim
    claim = volume_of(service, artefact, observed.claims, cache, claims)
    children, gpu = children_of(service, artefact, fetched_by), on_gpu(service.spec.accelerator)
    here = tuple([p for p in pods if not p.deleting and not p.over])
    current = tuple([p for p in pods if p.labels.get(REVISION) == revision])
    answering, silent, steady = up(pods, now), down(current, now), next_steady(current, now)
    ready = sum(p.labels.get(REVISION) == revision for p in answering)
    return Facts(
        observed=observed,
        service=service,
        revision=revision,
        edition=edition,
        made_of=made,
        before=before,
        before_revision=before_revision,
        children=children,
        artefact=artefact,
        fetch_job=fetched_by,
        claims=claims,
        claim=claim,
        gpu=gpu,
        grouped=service.spec.parallelism.nodes > 1,
        canary=canary,
        here=here,
        current=current,
        answering=answering,
        ready=ready,
        down=silent,
        steadies_in=steady,
        loaded=service.status.revision == revision or ready > 0,
    )
