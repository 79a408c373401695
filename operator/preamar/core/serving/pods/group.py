"""What is a replica of a model that needs several pods?

A leader and its workers. Leaders are the pods of the service's own Deployment: size, roll-outs, trials
and who goes first are what they are for replicas of one pod. Each leader has a StatefulSet of workers,
which it owns, so that Kubernetes removes them with it; their names are computed from the leader's UID,
which both sides know. No Service that callers use selects a worker.
"""

from collections.abc import Iterable
from hashlib import sha256
from json import dumps
from typing import Any

from preamar.api.inference import InferenceService
from preamar.core.metadata import child_metadata, labels_of
from preamar.core.placement import environment
from preamar.core.plan import Manifest, Ref
from preamar.core.pods import PodView
from preamar.core.serving.observe import KIND
from preamar.core.settings import Settings
from preamar.protocol import ports
from preamar.protocol.labels import BATCH_LABEL, GROUP_LABEL, MEMBER_LABEL, REVISION, WORK_LABEL

PORT, HEALTH_PORT = ports.GROUP, ports.GROUP_HEALTH
SLACK = 60
"""Seconds that a leader waits longer than the operator, who knows better why somebody is missing."""
COMPONENT = "group-worker"


def grouped(service: InferenceService) -> bool:
    """Whether one replica is several pods."""
    return service.spec.parallelism.nodes > 1


def key_of(leader: str) -> str:
    """Eight characters of a leader's UID: its workers' StatefulSet is named by them."""
    return sha256(leader.encode()).hexdigest()[:8]


def workers_name(service: InferenceService, leader: str) -> str:
    """Short enough for the label that a StatefulSet makes of its name and a hash."""
    return f"{service.metadata.name[:36]}-group-{key_of(leader)}"


def workers_ref(service: InferenceService, leader: str) -> Ref:
    """Where the workers of the leader with that UID are."""
    namespace = service.metadata.namespace or ""
    return Ref("apps/v1", "StatefulSet", namespace, workers_name(service, leader))


def network_name(service: InferenceService) -> str:
    """The Service that gives each worker a name in DNS, ``<pod>.<this>``."""
    return f"{service.metadata.name}-group"


def network(service: InferenceService) -> Manifest:
    """It names workers before they are ready, because readiness is what they meet for."""
    labels = labels_of(WORK_LABEL, service.metadata.name, "triton", COMPONENT)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": child_metadata(KIND, service.metadata, network_name(service), labels),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {
                WORK_LABEL: service.metadata.name,
                "app.kubernetes.io/component": COMPONENT,
            },
            "ports": [{"name": "group", "port": PORT, "targetPort": "group", "protocol": "TCP"}],
        },
    }


def as_leader(pod: dict[str, Any], service: InferenceService, settings: Settings) -> dict[str, Any]:
    """A replica's pod as that of a leader: it knows its group, and is ready when all of it is."""
    server = dict(pod["containers"][0])
    server["env"] = [*_told(service, settings, None), *server["env"]]
    server["ports"] = [*server["ports"], {"name": "health", "containerPort": HEALTH_PORT}]
    # Triton goes on saying ready while a worker leaves; the group's own answer does not.
    server["readinessProbe"] = {
        "httpGet": {"path": "/ready", "port": "health"},
        "periodSeconds": 1,
        "timeoutSeconds": 5,
        "failureThreshold": 1,
    }
    return pod | {"containers": [server]}


def workers(
    pod: dict[str, Any], service: InferenceService, settings: Settings, leader: PodView
) -> Manifest:
    """The workers of a leader. ``pod`` is a replica's pod. A change of ours restarts none: they go with
    their leader."""
    name = workers_name(service, leader.uid)
    labels = labels_of(WORK_LABEL, service.metadata.name, "triton", COMPONENT)
    # Any of our labels on a replica tells how it was made; the same is true of its workers.
    kept = {k: leader.labels[k] for k in (REVISION, BATCH_LABEL) if k in leader.labels}
    marked = labels | kept | {GROUP_LABEL: key_of(leader.uid), MEMBER_LABEL: service.metadata.name}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {
            "name": name,
            "namespace": service.metadata.namespace,
            "labels": labels | {GROUP_LABEL: key_of(leader.uid)},
            "ownerReferences": [
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": leader.name,
                    "uid": leader.uid,
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "spec": {
            "replicas": service.spec.parallelism.nodes - 1,
            "serviceName": network_name(service),
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "OnDelete"},
            "revisionHistoryLimit": 1,
            "selector": {
                "matchLabels": {
                    WORK_LABEL: service.metadata.name,
                    GROUP_LABEL: key_of(leader.uid),
                }
            },
            "template": {
                "metadata": {"labels": marked},
                "spec": _worker(pod, service, settings, leader.uid),
            },
        },
    }


def _worker(
    pod: dict[str, Any], service: InferenceService, settings: Settings, leader: str
) -> dict[str, Any]:
    builder, server = dict(pod["initContainers"][0]), dict(pod["containers"][0])
    told = _told(service, settings, leader)
    builder["env"] = [*builder["env"], *told]
    worker = server | {
        "name": "worker",
        "command": ["preamar-model", "work"],
        "env": [*told, *server["env"]],
        "ports": [
            {"name": "group", "containerPort": PORT},
            {"name": "health", "containerPort": HEALTH_PORT},
        ],
        "readinessProbe": {
            "httpGet": {"path": "/ready", "port": "health"},
            "periodSeconds": 1,
            "timeoutSeconds": 5,
            "failureThreshold": 1,
        },
        "livenessProbe": {
            "httpGet": {"path": "/live", "port": "health"},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
    }
    for unused in ("args", "startupProbe", "lifecycle"):
        worker.pop(unused, None)
    return pod | {"initContainers": [builder], "containers": [worker]}


def _told(
    service: InferenceService, settings: Settings, leader: str | None
) -> list[dict[str, Any]]:
    """``leader``: the UID of a worker's leader; None for the leader itself, who knows its own."""
    words: dict[str, Any] = {
        "size": service.spec.parallelism.nodes,
        "name": service.metadata.name[:36],
        "network": network_name(service),
        "seconds": settings.gang_seconds + SLACK,
    }
    text = dumps(words | ({"leader": leader} if leader else {}), sort_keys=True)
    fields = (
        ("PREAMAR_POD_NAME", "metadata.name"),
        ("PREAMAR_POD_UID", "metadata.uid"),
        ("PREAMAR_POD_IP", "status.podIP"),
    )
    return [
        *environment({"PREAMAR_GROUP": text}, ()),
        *({"name": n, "valueFrom": {"fieldRef": {"fieldPath": p}}} for n, p in fields),
    ]


def members_of(
    leaders: Iterable[PodView], pods: Iterable[PodView]
) -> dict[str, tuple[PodView, ...]]:
    """The workers that there are of each leader, by its UID."""
    by_key: dict[str, list[PodView]] = {}
    for pod in pods:
        by_key.setdefault(pod.labels.get(GROUP_LABEL, ""), []).append(pod)
    return {leader.uid: tuple(by_key.get(key_of(leader.uid), ())) for leader in leaders}
