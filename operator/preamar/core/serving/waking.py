"""Which size wakes a sleeping service? The law's own answer, before anything else is looked at.

Somebody waits for this one write, so it is decided on the resource and its demand alone. All that
may stand in its way (a volume, a rival, a model that has never loaded) leaves the decision to
``reconcile``, which looks at everything and then comes to the same size.
"""

from preamar.api.inference import InferenceService
from preamar.api.scaling import ScalingMode
from preamar.core.metadata import API_VERSION
from preamar.core.plan import Event, Plan, Ref, Scale
from preamar.core.serving.facts import facts_of
from preamar.core.serving.health.fit_kept import as_made
from preamar.core.serving.observe import KIND, Observed
from preamar.core.serving.sizing.scaling import ScalingDecision
from preamar.core.serving.sizing.size import signal, size_of


def wake(observed: Observed) -> Plan:
    """The write that wakes the service and its event; nothing where it is not a plain case."""
    service = observed.service
    if not observed.demand.queued or not _sleeps(service) or not facts_of(observed).loaded:
        return Plan()
    decision = size_of(
        as_made(service),
        demand=observed.demand,
        pods=(),
        loaded=True,
        failing=False,
        habit=observed.habit,
        now=observed.now,
    )
    scale = scale_of(service, decision)
    return Plan(scale=scale, events=resized(observed, scale, decision))


def _sleeps(service: InferenceService) -> bool:
    """Whether it is at zero, on the operator's own word and for no other reason."""
    stalled = service.status.condition("Stalled")
    return (
        not service.metadata.deletion_timestamp
        and service.spec.replicas == 0
        and service.status.observed_generation is not None
        and stalled is not None
        and stalled.status == "False"
    )


def scale_of(service: InferenceService, decision: ScalingDecision) -> Scale | None:
    """The write of a decided size, where it is ours to write and another than there is."""
    managed = service.spec.scaling.mode == ScalingMode.MANAGED
    if not managed or decision.replicas == service.spec.replicas:
        return None
    metadata = service.metadata
    ref = Ref(API_VERSION, KIND, metadata.namespace, metadata.name)
    return Scale(ref, decision.replicas, metadata.resource_version)


def resized(
    observed: Observed, scale: Scale | None, decision: ScalingDecision
) -> tuple[Event, ...]:
    """What is told of it."""
    if scale is None:
        return ()
    service = observed.service
    sizes = f"The size is now {scale.replicas}, it was {service.spec.replicas}"
    return (Event(decision.reason, f"{sizes}: {signal(service, observed.demand)}."),)
