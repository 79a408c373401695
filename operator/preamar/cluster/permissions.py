"""Which verbs on which resources does the operator use? The chart grants these and no more.

``finalizers`` are never written: some clusters ask for the right where an owner blocks deletion.
"""

from typing import NamedTuple


class Permission(NamedTuple):
    """A rule of RBAC. ``where`` is ``watched`` (the namespaces that are watched, or all), ``own``
    (the operator's namespace) or ``cluster`` (what has no namespace)."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    where: str = "watched"


OPERATOR: tuple[Permission, ...] = (
    Permission("preamar.dev", "inferenceservices", ("get", "list", "watch")),
    Permission("preamar.dev", "inferenceservices/status", ("patch",)),
    Permission("preamar.dev", "inferenceservices/scale", ("patch",)),
    Permission("preamar.dev", "trainingjobs", ("get", "list", "watch", "delete")),
    Permission("preamar.dev", "trainingjobs/status", ("patch",)),
    Permission("preamar.dev", "inferenceservices/finalizers", ("update",)),
    Permission("preamar.dev", "trainingjobs/finalizers", ("update",)),
    Permission("apps", "deployments", ("get", "list", "watch", "create", "patch", "delete")),
    Permission("apps", "statefulsets", ("get", "list", "watch", "create", "patch")),
    Permission("batch", "jobs", ("get", "list", "watch", "create", "patch", "delete")),
    Permission("", "services", ("get", "list", "watch", "create", "patch")),
    Permission("policy", "poddisruptionbudgets", ("get", "list", "watch", "create", "patch")),
    Permission("", "pods", ("list", "watch", "patch")),
    Permission("", "persistentvolumeclaims", ("get",)),
    Permission("", "events", ("get", "create", "patch")),
    Permission("preamar.dev", "tenants", ("list", "watch"), "cluster"),
    Permission("preamar.dev", "tenants/status", ("patch",), "cluster"),
    Permission("coordination.k8s.io", "leases", ("get", "create", "update"), "own"),
)
