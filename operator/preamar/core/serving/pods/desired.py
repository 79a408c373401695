"""What should exist for an inference service?

A Deployment of model servers, a headless Service whose EndpointSlices the gateway follows, and a
budget for disruptions; all ``X-serve``. A function of the resource, the installation and a size.
"""

from typing import Any

from preamar.api.inference import InferenceService
from preamar.core.metadata import child_metadata, labels_of
from preamar.core.objects import ClaimView
from preamar.core.placement import on_gpu
from preamar.core.plan import Manifest, digest_of
from preamar.core.serving.model.previous_spec import MADE_OF, made_of
from preamar.core.serving.observe import (
    BATCH_LABEL,
    CANARY,
    KIND,
    MEMBER_LABEL,
    REVISION,
    ROLE_LABEL,
    SERVICE_LABEL,
    canary_ref,
)
from preamar.core.serving.pods.group import as_leader, grouped, member_selector, network
from preamar.core.serving.pods.pod import PORTS, pod_spec
from preamar.core.settings import Settings


def revision_of(service: InferenceService) -> str:
    """What the user has asked to run, in ten characters. The installation's own defaults are left
    out: an upgrade of Preamar replaces pods and does not make a loaded model unproved."""
    spec = service.spec
    parts = (spec.model, spec.optimize, spec.runtime, spec.accelerator, spec.parallelism)
    return digest_of({"spec": [p.model_dump(by_alias=True, mode="json") for p in parts]})[:10]


def edition_of(service: InferenceService) -> str:
    """All that was written, its size left out, in ten characters. Others write sizes all the time,
    so that a new generation alone does not say that a person has changed anything."""
    spec = service.spec.model_dump(by_alias=True, mode="json", exclude={"replicas"})
    return digest_of({"spec": spec})[:10]


def with_batch(service: InferenceService, batch: int) -> InferenceService:
    """The service as if that batch had been asked for."""
    spec = service.spec
    if batch == spec.runtime.batching.max_batch_size:
        return service
    batching = spec.runtime.batching.model_copy(update={"max_batch_size": batch})
    runtime = spec.runtime.model_copy(update={"batching": batching})
    return service.model_copy(update={"spec": spec.model_copy(update={"runtime": runtime})})


def desired(
    service: InferenceService,
    settings: Settings,
    replicas: int,
    claim: ClaimView | None,
    batch: int,
) -> tuple[Manifest, ...]:
    """The children, in the order in which they are made: a pod finds its Service there."""
    return (
        _service(service),
        *((network(service),) if grouped(service) else ()),
        _disruption_budget(service),
        _deployment(service, settings, replicas, claim, batch),
    )


def canary(
    service: InferenceService, settings: Settings, replicas: int, claim: ClaimView | None
) -> Manifest:
    """The Deployment of a revision on trial. Its pods are of the service, and the Service's
    EndpointSlices name them; gateways know them by their name."""
    own = labels(service) | {ROLE_LABEL: CANARY}
    batch = service.spec.runtime.batching.max_batch_size
    made = _deployment(service, settings, replicas, claim, batch)
    template = made["spec"]["template"]
    marked = template["metadata"]["labels"] | own
    metadata = child_metadata(KIND, service.metadata, canary_ref(service).name, own)
    return made | {
        "metadata": metadata | {"annotations": {REVISION: revision_of(service)}},
        "spec": made["spec"]
        | {
            "selector": {"matchLabels": _selector(service) | {ROLE_LABEL: CANARY}},
            "template": template | {"metadata": {"labels": marked}},
        },
    }


def labels(service: InferenceService) -> dict[str, str]:
    """The labels of the children and their pods."""
    return labels_of(SERVICE_LABEL, service.metadata.name, "triton", "model-server")


def _deployment(
    service: InferenceService,
    settings: Settings,
    replicas: int,
    claim: ClaimView | None,
    batch: int,
) -> dict[str, Any]:
    # The smaller batch is our answer and not the user's words: the revision stays.
    revision = revision_of(service)
    smaller = batch < service.spec.runtime.batching.max_batch_size
    marked = {REVISION: revision} | ({BATCH_LABEL: str(batch)} if smaller else {})
    pod = pod_spec(service, settings, claim, batch)
    if grouped(service):
        marked[MEMBER_LABEL] = service.metadata.name
        pod = as_leader(pod, service, settings)
    metadata = _metadata(service) | {"annotations": {REVISION: revision, MADE_OF: made_of(service)}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 2,
            "progressDeadlineSeconds": 3600,
            "selector": {"matchLabels": _selector(service)},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": _pace(service, replicas, claim, smaller),
            },
            "template": {
                "metadata": {"labels": labels(service) | marked},
                "spec": pod,
            },
        },
    }


def _pace(
    service: InferenceService, replicas: int, claim: ClaimView | None, smaller: bool
) -> dict[str, int]:
    """No capacity is lost in a roll-out, unless an additional pod could wait for ever: for GPUs
    that the others hold, or for a volume that one node or one pod has for itself. A pod that runs
    out of memory may hold the only GPU, so those that take its place come after it."""
    one_node = claim is not None and not shareable(claim)
    several_gpus = on_gpu(service.spec.accelerator) and (replicas > 1 or grouped(service))
    if one_node or several_gpus or smaller:
        return {"maxSurge": 0, "maxUnavailable": 1}
    return {"maxSurge": 1, "maxUnavailable": 0}


def shareable(claim: ClaimView) -> bool:
    """Whether pods on several nodes can mount it."""
    return bool({"ReadWriteMany", "ReadOnlyMany"} & set(claim.access_modes))


def _service(service: InferenceService) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(service),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": False,
            "selector": _selector(service),
            "ports": [
                {"name": name, "port": port, "targetPort": name, "protocol": "TCP"}
                for name, port in PORTS
            ],
        },
    }


def _disruption_budget(service: InferenceService) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(service),
        "spec": {
            "maxUnavailable": 1,
            # A model that never became ready must not keep a node from being drained.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": member_selector(service)},
        },
    }


def _metadata(service: InferenceService) -> dict[str, Any]:
    owner = service.metadata
    return child_metadata(KIND, owner, f"{owner.name}-serve", labels(service))


def _selector(service: InferenceService) -> dict[str, str]:
    return {SERVICE_LABEL: service.metadata.name}
