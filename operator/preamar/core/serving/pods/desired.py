"""What should exist for an inference service?

A Deployment of model servers, a headless Service whose EndpointSlices the gateway follows, and a
budget for disruptions; all ``X-serve``. A function of the resource, the installation and a size.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from preamar.api.inference import InferenceService
from preamar.core.metadata import child_metadata, labels_of
from preamar.core.objects import ClaimView
from preamar.core.placement import on_gpu
from preamar.core.plan import Manifest, digest_of
from preamar.core.serving.observe import CANARY, KIND, canary_ref
from preamar.core.serving.pods.group import as_leader, network
from preamar.core.serving.pods.pod import PORTS, pod_spec
from preamar.core.settings import Settings
from preamar.core.volumes import SHARED
from preamar.protocol.labels import (
    BATCH_LABEL,
    MADE_OF,
    MEMBER_LABEL,
    REVISION,
    ROLE_LABEL,
    SERVICE_LABEL,
)


class Identity(NamedTuple):
    """``revision``: what the user has asked to run. The installation's own defaults are left out: an
    upgrade of Preamar replaces pods and does not make a loaded model unproved. ``edition``: all that
    was written, its size left out. Others write sizes all the time, so that a new generation alone
    does not say that a person has changed anything. Ten characters each."""

    revision: str
    edition: str


def identity_of(service: InferenceService) -> Identity:
    """Both."""
    spec = service.spec
    parts = (spec.model, spec.optimize, spec.runtime, spec.accelerator, spec.parallelism)
    asked = {"spec": [part.model_dump(by_alias=True, mode="json") for part in parts]}
    written = {"spec": spec.model_dump(by_alias=True, mode="json", exclude={"replicas"})}
    return Identity(digest_of(asked)[:10], digest_of(written)[:10])


def revision_of(service: InferenceService) -> str:
    """What the user has asked to run."""
    return identity_of(service).revision


def with_batch(service: InferenceService, batch: int) -> InferenceService:
    """The service as if that batch had been asked for."""
    spec = service.spec
    if batch == spec.runtime.batching.max_batch_size:
        return service
    batching = spec.runtime.batching.model_copy(update={"max_batch_size": batch})
    runtime = spec.runtime.model_copy(update={"batching": batching})
    return service.model_copy(update={"spec": spec.model_copy(update={"runtime": runtime})})


@dataclass(frozen=True, slots=True)
class Template:
    """What replicas are made from. ``batch`` may be less than was asked for: that is our answer and
    not the user's words, so that the ``revision`` stays. ``made_of``: what is remembered of it."""

    service: InferenceService
    settings: Settings
    claim: ClaimView | None
    batch: int
    revision: str
    made_of: str

    @property
    def grouped(self) -> bool:
        """Whether one replica is several pods."""
        return self.service.spec.parallelism.nodes > 1

    @property
    def smaller(self) -> bool:
        """Whether the batch is less than was asked for."""
        return self.batch < self.service.spec.runtime.batching.max_batch_size


def desired(template: Template, replicas: int) -> tuple[Manifest, ...]:
    """The children, in the order in which they are made: a pod finds its Service there."""
    service, owner = template.service, template.service.metadata
    group = (network(service),) if template.grouped else ()
    marked = labels(service)
    metadata = child_metadata(KIND, owner, f"{owner.name}-serve", marked)
    annotations = {REVISION: template.revision, MADE_OF: template.made_of}
    deployment = _deployment(template, replicas, metadata | {"annotations": annotations}, marked)
    return (_service(metadata), *group, _disruption_budget(metadata, template), deployment)


def canary(template: Template, replicas: int) -> Manifest:
    """The Deployment of a revision on trial. Its pods are of the service, and the Service's
    EndpointSlices name them; gateways know them by their name."""
    service, owner = template.service, template.service.metadata
    own = labels(service) | {ROLE_LABEL: CANARY}
    metadata = child_metadata(KIND, owner, canary_ref(service).name, own)
    annotations = {REVISION: template.revision}
    made = _deployment(template, replicas, metadata | {"annotations": annotations}, own)
    selector = {SERVICE_LABEL: owner.name, ROLE_LABEL: CANARY}
    return made | {"spec": made["spec"] | {"selector": {"matchLabels": selector}}}


def labels(service: InferenceService) -> dict[str, str]:
    """The labels of the children and their pods."""
    return labels_of(SERVICE_LABEL, service.metadata.name, "triton", "model-server")


def _deployment(
    template: Template, replicas: int, metadata: dict[str, Any], labels: dict[str, str]
) -> dict[str, Any]:
    service, settings, claim = template.service, template.settings, template.claim
    marked = labels | {REVISION: template.revision}
    if template.smaller:
        marked[BATCH_LABEL] = str(template.batch)
    pod = pod_spec(service, settings, claim, template.batch)
    if template.grouped:
        marked[MEMBER_LABEL] = service.metadata.name
        pod = as_leader(pod, service, settings)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 2,
            "progressDeadlineSeconds": 3600,
            "selector": {"matchLabels": {SERVICE_LABEL: service.metadata.name}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": _pace(template, replicas)},
            "template": {"metadata": {"labels": marked}, "spec": pod},
        },
    }


def _pace(template: Template, replicas: int) -> dict[str, int]:
    """No capacity is lost in a roll-out, unless an additional pod could wait for ever: for GPUs
    that the others hold, or for a volume that one node or one pod has for itself. A pod that runs
    out of memory may hold the only GPU, so those that take its place come after it."""
    one_node = template.claim is not None and not SHARED & set(template.claim.access_modes)
    several = replicas > 1 or template.grouped
    if one_node or template.smaller or (several and on_gpu(template.service.spec.accelerator)):
        return {"maxSurge": 0, "maxUnavailable": 1}
    return {"maxSurge": 1, "maxUnavailable": 0}


def _service(metadata: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": False,
            "selector": {SERVICE_LABEL: metadata["labels"][SERVICE_LABEL]},
            "ports": [
                {"name": name, "port": port, "targetPort": name, "protocol": "TCP"}
                for name, port in PORTS
            ],
        },
    }


def _disruption_budget(metadata: dict[str, Any], template: Template) -> dict[str, Any]:
    # Of the pods that are counted one that takes a worker takes its whole replica.
    label = MEMBER_LABEL if template.grouped else SERVICE_LABEL
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata,
        "spec": {
            "maxUnavailable": 1,
            # A model that never became ready must not keep a node from being drained.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": {label: template.service.metadata.name}},
        },
    }
