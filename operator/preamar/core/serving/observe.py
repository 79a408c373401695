"""What is true of one inference service right now?

Frozen data, gathered by the shell before a pass: the resource, what stands under the names of its
children, its pods, the volumes it names, demand, and the other services that claim its model name.
Nothing here judges; what is unknown is None and not zero.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Self

from preamar.api.fields.uri import ModelUri
from preamar.api.inference import InferenceService
from preamar.api.scaling import Strategy
from preamar.core.objects import Children, ClaimView
from preamar.core.plan import Applied, Manifest, Ref, RefusedManifest
from preamar.core.pods import PodView
from preamar.core.serving.model.source import (
    Artefact,
    artefact_of,
    fetch_job,
)
from preamar.core.serving.sizing.static_size import StaticSize
from preamar.core.settings import Settings
from preamar.protocol.accounts import Drift
from preamar.protocol.demand import Demand
from preamar.protocol.labels import BATCH_LABEL, MADE_OF, REVISION
from preamar.protocol.names import CANARY_SUFFIX
from preamar.protocol.ownership import Claimant

CANARY = "canary"
KIND = "InferenceService"


def batch_of(carried: Mapping[str, str]) -> int | None:
    """The batch that a pod was made with, where that is less than was asked for."""
    text = carried.get(BATCH_LABEL, "")
    return int(text) if text.isascii() and text.isdigit() else None


@dataclass(frozen=True, slots=True)
class DeploymentView:
    """The model servers' Deployment, and how far its controller has come."""

    uid: str
    version: str
    generation: int = 0
    observed_generation: int = 0
    revision: str = ""
    batch: int | None = None
    """What its pods are made with, where that is less than was asked for."""
    wanted: int = 0
    replicas: int = 0
    updated: int = 0
    ready: int = 0
    available: int = 0
    refused: str = ""
    deleting: bool = False
    made_of: str = ""

    @classmethod
    def of(cls, body: Manifest) -> Self:
        metadata: Mapping[str, Any] = body["metadata"]
        spec: Mapping[str, Any] = body.get("spec") or {}
        status: Mapping[str, Any] = body.get("status") or {}
        conditions = {c["type"]: c for c in status.get("conditions") or ()}
        failure = conditions.get("ReplicaFailure") or {}
        return cls(
            uid=metadata["uid"],
            version=metadata["resourceVersion"],
            generation=int(metadata.get("generation") or 0),
            observed_generation=int(status.get("observedGeneration") or 0),
            revision=(metadata.get("annotations") or {}).get(REVISION, ""),
            batch=batch_of(
                ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
            ),
            wanted=int(spec.get("replicas", 1)),
            replicas=int(status.get("replicas") or 0),
            updated=int(status.get("updatedReplicas") or 0),
            ready=int(status.get("readyReplicas") or 0),
            available=int(status.get("availableReplicas") or 0),
            refused=(failure.get("message") or failure.get("reason") or "pods cannot be created")
            if failure.get("status") == "True"
            else "",
            deleting=bool(metadata.get("deletionTimestamp")),
            made_of=(metadata.get("annotations") or {}).get(MADE_OF, ""),
        )


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything a pass may look at.

    ``children`` holds what stands under each of ``children_named(service)``, other people's
    objects included, and the StatefulSets of workers, each under its leader's computed name. ``pods`` are replicas, ``canaries`` those
    of a revision on trial, ``workers`` the pods that prepare their model and those that are the
    rest of a replica of several pods, whose first is its leader. ``claims`` holds those of ``claims_named(service)`` that exist. ``rivals``
    are the other services of the installation with the same model name, deleted ones left out.
    """

    service: InferenceService
    now: datetime
    settings: Settings = field(default_factory=Settings)
    children: Children = field(default_factory=lambda: MappingProxyType({}))
    deployment: DeploymentView | None = None
    pods: tuple[PodView, ...] = ()
    canaries: tuple[PodView, ...] = ()
    workers: tuple[PodView, ...] = ()
    claims: Mapping[str, ClaimView] = field(default_factory=lambda: MappingProxyType({}))
    demand: Demand = field(default_factory=Demand)
    habit: StaticSize | None = None
    rivals: tuple[Claimant, ...] = ()
    drift: Drift | None = None
    applied: Mapping[Ref, Applied] = field(default_factory=lambda: MappingProxyType({}))
    refused: Mapping[Ref, RefusedManifest] = field(default_factory=lambda: MappingProxyType({}))


def children_named(service: InferenceService) -> tuple[Ref, ...]:
    """Where the children of a service are, whether they exist or not."""
    return children_of(service, artefact_of(service), fetch_job(service))


def children_of(
    service: InferenceService, made: Artefact | None, fetched_by: str
) -> tuple[Ref, ...]:
    """The same, where it is known which Jobs may be among them."""
    namespace, name = service.metadata.namespace or "", f"{service.metadata.name}-serve"
    jobs = [fetched_by] if fetched_by else []
    jobs += [job.name for job in made.jobs] if made is not None else []
    split = service.spec.parallelism.nodes > 1
    return (
        Ref("apps/v1", "Deployment", namespace, name),
        Ref("v1", "Service", namespace, name),
        Ref("policy/v1", "PodDisruptionBudget", namespace, name),
        *([Ref("v1", "Service", namespace, f"{service.metadata.name}-group")] if split else ()),
        *(Ref("batch/v1", "Job", namespace, job) for job in jobs),
        *([canary_ref(service)] if has_canary(service) else ()),
    )


def has_canary(service: InferenceService) -> bool:
    """Whether new revisions are tried first."""
    return service.spec.rollout.strategy == Strategy.CANARY


def canary_ref(service: InferenceService) -> Ref:
    """The Deployment of a revision on trial."""
    name = f"{service.metadata.name}{CANARY_SUFFIX}"
    return Ref("apps/v1", "Deployment", service.metadata.namespace or "", name)


def claims_named(service: InferenceService) -> tuple[str, ...]:
    """The PersistentVolumeClaims that the service cannot do without, in its own namespace."""
    try:
        uri = ModelUri.parse(service.spec.model.uri)
    except ValueError:
        return ()
    return (uri.claim,) if uri.scheme == "pvc" and uri.claim else ()
