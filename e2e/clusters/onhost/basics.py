"""What every host cluster holds from its first minute: storage, and rights for our own programs."""

from typing import Any

PROVISIONER = "preamar.dev/directory"
STORAGE = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {
        "name": "preamar-directory",
        "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
    },
    "provisioner": PROVISIONER,
    "reclaimPolicy": "Delete",
    "volumeBindingMode": "Immediate",
}
RIGHTS = "rbac.authorization.k8s.io"


def binding(name: str, role: str, user: str) -> dict[str, Any]:
    return {
        "apiVersion": f"{RIGHTS}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": RIGHTS, "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "User", "name": user}],
    }


def watching(group: str, *resources: str) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": list(resources), "verbs": ["list", "watch"]}


BASICS = (
    STORAGE,
    binding("preamar-directory-provisioner", "system:persistent-volume-provisioner", PROVISIONER),
    {
        "apiVersion": f"{RIGHTS}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "preamar-coredns"},
        "rules": [
            watching("", "services", "pods", "namespaces"),
            watching("discovery.k8s.io", "endpointslices"),
        ],
    },
    binding("preamar-coredns", "preamar-coredns", "system:kube-dns"),
)
