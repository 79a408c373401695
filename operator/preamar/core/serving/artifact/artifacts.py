"""What must be made before replicas can start, and what are they made of meanwhile?

A Job optimises the model where that is asked for, or brings it into the cache before there is a node.
While either is under way, the replicas that there were are served and sized as they were made.
"""

from dataclasses import replace

from preamar.api.inference import InferenceService
from preamar.core.plan import Delete, Manifest, ref_of
from preamar.core.serving.artifact.optimize_job import optimize_job
from preamar.core.serving.artifact.optimize_words import Optimized, OptimizeState
from preamar.core.serving.artifact.prefetch import prefetch
from preamar.core.serving.artifact.rollout import Phase, RolloutState
from preamar.core.serving.facts import Facts, facts_of
from preamar.core.serving.model.source import artefact_of
from preamar.core.serving.observe import canary_ref
from preamar.core.serving.pods.desired import Template, canary


def served_of(facts: Facts, work: Optimized, rollout: RolloutState | None) -> Facts | None:
    """Of the service as its replicas are made: while the model is being optimised or tried, or
    was refused, as those that there were before; None where there are none."""
    if rollout is not None and rollout.phase != Phase.PROMOTED:
        return _as(rollout.before, facts)
    if work.stand in {OptimizeState.UNASKED, OptimizeState.DONE}:
        return facts
    deployment = facts.observed.deployment
    if deployment is None or deployment.deleting or facts.before is None:
        return None
    return _as(facts.before, facts)


def _as(service: InferenceService, facts: Facts) -> Facts:
    return facts if service is facts.service else facts_of(replace(facts.observed, service=service))


def optimizer(facts: Facts, work: Optimized) -> tuple[Manifest, ...]:
    """The Jobs that optimise the model. One that is there is never changed, as all Jobs."""
    made, cache, observed = facts.artefact, facts.claim, facts.observed
    if work.stand != OptimizeState.WORKING or cache is None or made is None:
        return ()
    kept = _served(facts)
    missing = [job for job in made.jobs if job.product in work.missing]
    jobs = [
        optimize_job(facts.service, observed.settings, cache, made, each, kept) for each in missing
    ]
    refs = [ref_of(job) for job in jobs]
    return tuple(job for job, ref in zip(jobs, refs, strict=True) if ref not in observed.children)


def abandoned(facts: Facts, work: Optimized) -> tuple[Delete, ...]:
    """The Jobs of wishes that were changed since: what they would say is no longer asked, and the
    artefact that they made may be gone when it is asked for again. And those whose artefact is."""
    service, namespace = facts.service, facts.service.metadata.namespace or ""
    jobs = facts.artefact.jobs if facts.artefact is not None else ()
    wanted = {job.name for job in jobs if job.product not in work.stale}
    return tuple(
        Delete(ref, child.uid)
        for ref, child in facts.observed.children.items()
        if (ref.kind, ref.namespace) == ("Job", namespace)
        and "-optimize-" in ref.name
        and ref.name not in wanted
        and child.owner == service.metadata.uid
        and not child.deleting
    )


def _served(facts: Facts) -> tuple[str, ...]:
    """Artefacts that replicas may start from meanwhile: the last that was made, which may be on
    trial, and the one that the Deployment is made of, which may be older."""
    known, before = facts.service.status.optimization, facts.before
    found = {known.artefact} if known and known.artefact else set()
    made = artefact_of(before) if before is not None else None
    if made is not None:
        found.add(made.name)
    return tuple(sorted(found))


def fetcher(facts: Facts) -> tuple[Manifest, ...]:
    """The Job that fetches the model. One that is there is never changed, as all Jobs."""
    # An artefact's own Jobs fetch what it is made of.
    if facts.loaded or not facts.fetch_job or facts.artefact is not None:
        return ()
    observed, claim = facts.observed, facts.claim
    job = prefetch(facts.service, observed.settings, claim, facts.fetch_job)
    return (job,) if job is not None and ref_of(job) not in observed.children else ()


def tried(
    facts: Facts, rollout: RolloutState | None, beside: int
) -> tuple[tuple[Manifest, ...], tuple[Delete, ...]]:
    """The Deployment of a revision on trial, or its end. After a promotion it stays until the
    others are replaced: capacity is not lost."""
    service = facts.service
    if rollout is not None and rollout.phase == Phase.TRYING:
        batch, settings = service.spec.runtime.batching.max_batch_size, facts.observed.settings
        made = Template(service, settings, facts.claim, batch, facts.revision, facts.made_of)
        return (canary(made, rollout.replicas(service, beside)),), ()
    ref = canary_ref(service)
    child = facts.observed.children.get(ref)
    if child is None or child.deleting or child.owner != service.metadata.uid:
        return (), ()
    if rollout is not None and rollout.phase == Phase.PROMOTED and not _replaced(facts):
        return (), ()
    return (), (Delete(ref, child.uid),)


def _replaced(facts: Facts) -> bool:
    """Whether all replicas are of the present revision and ready."""
    made = facts.observed.deployment
    return (
        made is not None
        and made.revision == facts.revision
        and made.observed_generation >= made.generation
        and made.updated == made.replicas == made.ready
    )
