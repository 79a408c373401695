"""Where objects live on the API server: the path of every kind that Preamar touches.

A table and not discovery: the kinds are few and known, and a request less is a failure less.
"""

from preamar.core.plan import Ref

PLURALS = {
    "ConfigMap": "configmaps",
    "Deployment": "deployments",
    "Event": "events",
    "InferenceService": "inferenceservices",
    "Job": "jobs",
    "Lease": "leases",
    "NetworkPolicy": "networkpolicies",
    "PersistentVolumeClaim": "persistentvolumeclaims",
    "Pod": "pods",
    "PodDisruptionBudget": "poddisruptionbudgets",
    "Service": "services",
    "StatefulSet": "statefulsets",
    "Tenant": "tenants",
    "TrainingJob": "trainingjobs",
}


def collection(api_version: str, plural: str, namespace: str = "") -> str:
    """The path of all objects of a kind, in one namespace or in all."""
    root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    return f"{root}/namespaces/{namespace}/{plural}" if namespace else f"{root}/{plural}"


def location(ref: Ref) -> str:
    """The path of one object."""
    plural = PLURALS.get(ref.kind)
    if plural is None:
        raise ValueError(f"Preamar has no business with objects of kind {ref.kind}")
    return f"{collection(ref.api_version, plural, ref.namespace)}/{ref.name}"
