"""What must be made before replicas can start, and what are they made of meanwhile?

A Job optimises the model where that is asked for, or brings it into the cache before there is a node.
While either is under way, the replicas that there were are served and sized as they were made.
"""

from dataclasses import replace

from preamar.core.objects import ClaimView
from preamar.core.plan import Delete, Manifest, ref_of
from preamar.core.serving.artifact.optimize_job import optimize_job
from preamar.core.serving.artifact.optimize_words import Optimized, Stand
from preamar.core.serving.artifact.prefetch import prefetch
from preamar.core.serving.artifact.rollout import Phase, Rollout
from preamar.core.serving.model.previous_spec import earlier
from preamar.core.serving.model.source import (
    artefact,
    cache_claim,
    is_fetched,
    is_optimized,
    optimize_name,
    products,
    usable_cache,
)
from preamar.core.serving.observe import Observed, canary_ref, claims_named
from preamar.core.serving.pods.desired import canary, revision_of


def served_of(observed: Observed, work: Optimized, rollout: Rollout | None) -> Observed | None:
    """With the service as its replicas are made: while the model is being optimised or tried, or
    was refused, as those that there were before; None where there are none."""
    if rollout is not None and rollout.phase != Phase.PROMOTED:
        return replace(observed, service=rollout.before)
    if work.stand in {Stand.UNASKED, Stand.DONE}:
        return observed
    deployment = observed.deployment
    if deployment is None or deployment.deleting:
        return None
    before = earlier(observed.service, deployment.made_of)
    return replace(observed, service=before) if before is not None else None


def optimizer(observed: Observed, work: Optimized) -> tuple[Manifest, ...]:
    """The Jobs that optimise the model. One that is there is never changed, as all Jobs."""
    service, settings = observed.service, observed.settings
    cache = observed.claims.get(settings.model_cache_claim)
    if work.stand != Stand.WORKING or cache is None:
        return ()
    kept = _served(observed)
    jobs = (optimize_job(service, settings, cache, kept, each) for each in work.missing)
    return tuple(job for job in jobs if ref_of(job) not in observed.children)


def abandoned(observed: Observed, work: Optimized) -> tuple[Delete, ...]:
    """The Jobs of wishes that were changed since: what they would say is no longer asked, and the
    artefact that they made may be gone when it is asked for again. And those whose artefact is."""
    service, namespace = observed.service, observed.service.metadata.namespace or ""
    asked = set(products(service)) - set(work.stale) if is_optimized(service) else set()
    wanted = {optimize_name(service, product) for product in asked}
    return tuple(
        Delete(ref, child.uid)
        for ref, child in observed.children.items()
        if (ref.kind, ref.namespace) == ("Job", namespace)
        and "-optimize-" in ref.name
        and ref.name not in wanted
        and child.owner == service.metadata.uid
        and not child.deleting
    )


def _served(observed: Observed) -> tuple[str, ...]:
    """Artefacts that replicas may start from meanwhile: the last that was made, which may be on
    trial, and the one that the Deployment is made of, which may be older."""
    service, deployment = observed.service, observed.deployment
    known = service.status.optimization
    found = {known.artefact} if known and known.artefact else set()
    before = earlier(service, deployment.made_of) if deployment else None
    if before is not None and is_optimized(before):
        found.add(artefact(before))
    return tuple(sorted(found))


def fetcher(observed: Observed, claim: ClaimView | None, loaded: bool) -> tuple[Manifest, ...]:
    """The Job that fetches the model. One that is there is never changed, as all Jobs."""
    job = None if loaded else prefetch(observed.service, observed.settings, claim)
    return (job,) if job is not None and ref_of(job) not in observed.children else ()


def tried(
    observed: Observed, rollout: Rollout | None, beside: int
) -> tuple[tuple[Manifest, ...], tuple[Delete, ...]]:
    """The Deployment of a revision on trial, or its end. After a promotion it stays until the
    others are replaced: capacity is not lost."""
    service = observed.service
    child = observed.children.get(canary_ref(service))
    if rollout is not None and rollout.phase == Phase.TRYING:
        claim = claim_of(observed)
        replicas = rollout.replicas(service, beside)
        return (canary(service, observed.settings, replicas, claim),), ()
    replaced = _replaced(observed)
    if child is None or child.deleting or child.owner != service.metadata.uid:
        return (), ()
    if rollout is not None and rollout.phase == Phase.PROMOTED and not replaced:
        return (), ()
    return (), (Delete(canary_ref(service), child.uid),)


def _replaced(observed: Observed) -> bool:
    """Whether all replicas are of the present revision and ready."""
    made = observed.deployment
    return (
        made is not None
        and made.revision == revision_of(observed.service)
        and made.observed_generation >= made.generation
        and made.updated == made.replicas == made.ready
    )


def claim_of(observed: Observed) -> ClaimView | None:
    """The volume that the model lies on, or is fetched to."""
    service = observed.service
    name = cache_claim(service, observed.settings)
    cache = observed.claims.get(name) if name else None
    if is_optimized(service):
        return cache
    if is_fetched(service):
        return usable_cache(service, cache)
    return next((observed.claims.get(name) for name in claims_named(service)), None)
