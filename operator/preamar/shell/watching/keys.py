"""What is a key of the work queue, and how do objects lead to one?

A resource is its own key; a child or a pod leads to its resource by the label it carries.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from preamar.protocol.labels import JOB_LABEL, SERVICE_LABEL, WORK_LABEL

SERVICE_KIND, JOB_KIND, TENANT_KIND = "InferenceService", "TrainingJob", "Tenant"


class Key(NamedTuple):
    """One resource of a user."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}".replace(" /", " ")


def owner_key(metadata: Mapping[str, Any]) -> Key | None:
    """The resource that a child or a pod belongs to."""
    labels = metadata.get("labels") or {}
    namespace = metadata.get("namespace") or ""
    if name := labels.get(SERVICE_LABEL) or labels.get(WORK_LABEL):
        return Key(SERVICE_KIND, namespace, name)
    if name := labels.get(JOB_LABEL):
        return Key(JOB_KIND, namespace, name)
    return None
