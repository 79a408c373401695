"""What does every object of ours carry: which labels, whose child is it, what may its pods do?

Names are computed, never drawn, so that a second try finds the first. The owner reference is
data; Kubernetes' garbage collector removes children, and no finalizer of ours holds a user up.
"""

from collections.abc import Mapping
from typing import Any

from preamar.api import GROUP, VERSION
from preamar.api.meta import ObjectMeta
from preamar.protocol.labels import MANAGED_BY_LABEL, MANAGER

API_VERSION = f"{GROUP}/{VERSION}"


def child_metadata(
    kind: str, owner: ObjectMeta, name: str, labels: Mapping[str, str]
) -> dict[str, Any]:
    """The metadata of a child called ``name``."""
    return {
        "name": name,
        "namespace": owner.namespace,
        "labels": dict(labels),
        "ownerReferences": [
            {
                "apiVersion": API_VERSION,
                "kind": kind,
                "name": owner.name,
                "uid": owner.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }


def labels_of(label: str, resource: str, name: str, component: str) -> dict[str, str]:
    """The labels of a child of ``resource`` and of its pods."""
    return {
        label: resource,
        MANAGED_BY_LABEL: MANAGER,
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/instance": resource,
    }


def status_of(kind: str, owner: ObjectMeta, status: Mapping[str, Any]) -> dict[str, Any]:
    """A status to write. The UID is a precondition: a namesake made later is left alone."""
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": owner.name, "uid": owner.uid}
        | ({"namespace": owner.namespace} if owner.namespace else {}),
        "status": dict(status),
    }


def restricted_pod() -> dict[str, Any]:
    """The pod security context of the Restricted standard, with the group that owns our files."""
    return {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "runAsGroup": 1000,
        "fsGroup": 1000,
        # Otherwise the kubelet walks a whole data set to change owners that are right already.
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def restricted_container() -> dict[str, Any]:
    """The container security context of the Restricted standard, with a read-only root."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
    }
