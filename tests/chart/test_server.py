"""The real API server takes what the chart renders, pods under Pod Security ``restricted`` included.

Holds: charts/preamar/
"""

import copy

import pytest

pytestmark = pytest.mark.apiserver
APPLY = "application/apply-patch+yaml"
NAMESPACE = "preamar-system"
FULL = {
    "networkPolicy": {"enabled": True, "adminFrom": [{"podSelector": {"matchLabels": {"a": "b"}}}]},
    "operator": {"replicas": 2, "tolerations": [{"key": "x", "operator": "Exists"}]},
    "gateway": {"service": {"type": "NodePort", "nodePorts": {"data": 30080, "admin": 30081, "grpc": 30082}}},
    "commonLabels": {"team": "ml"},
}  # fmt: skip
PLACES = {
    "Deployment": ("/apis/apps/v1", "deployments"),
    "Service": ("/api/v1", "services"),
    "ServiceAccount": ("/api/v1", "serviceaccounts"),
    "PersistentVolumeClaim": ("/api/v1", "persistentvolumeclaims"),
    "Pod": ("/api/v1", "pods"),
    "PodDisruptionBudget": ("/apis/policy/v1", "poddisruptionbudgets"),
    "NetworkPolicy": ("/apis/networking.k8s.io/v1", "networkpolicies"),
    "Role": ("/apis/rbac.authorization.k8s.io/v1", "roles"),
    "RoleBinding": ("/apis/rbac.authorization.k8s.io/v1", "rolebindings"),
    "ClusterRole": ("/apis/rbac.authorization.k8s.io/v1", "clusterroles"),
    "ClusterRoleBinding": ("/apis/rbac.authorization.k8s.io/v1", "clusterrolebindings"),
    "CustomResourceDefinition": ("/apis/apiextensions.k8s.io/v1", "customresourcedefinitions"),
}


def path_of(manifest):
    root, plural = PLACES[manifest["kind"]]
    namespace = manifest["metadata"].get("namespace")
    inside = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}{inside}/{plural}/{manifest['metadata']['name']}"


@pytest.fixture(scope="module")
def restricted(server):
    """The chart's namespace, which admits restricted pods only."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    for name in (NAMESPACE, "team"):
        body = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": labels},
        }
        status, answer = server.call(
            "PATCH", f"/api/v1/namespaces/{name}?fieldManager=test&force=true", body, APPLY
        )
        assert status in {200, 201}, answer
        # A controller makes this one in a cluster; pods are refused without it.
        account = f"/api/v1/namespaces/{name}/serviceaccounts/default?fieldManager=test"
        body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        status, answer = server.call("PATCH", account, body, APPLY)
        assert status in {200, 201}, answer
    return server


def dry_run(server, manifest):
    query = "?dryRun=All&fieldValidation=Strict&fieldManager=test&force=true"
    return server.call("PATCH", path_of(manifest) + query, manifest, APPLY)


@pytest.mark.parametrize(
    "values", [{}, FULL, {"watchNamespace": "team"}], ids=["plain", "full", "one"]
)
def test_the_api_server_takes_every_manifest(render, restricted, values):
    for manifest in render(values):
        status, answer = dry_run(restricted, manifest)
        assert status in {200, 201}, (manifest["kind"], manifest["metadata"]["name"], answer)


def pods(manifests):
    for manifest in manifests:
        if manifest["kind"] == "Pod":
            yield manifest
        elif manifest["kind"] == "Deployment":
            template = manifest["spec"]["template"]
            yield {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {**manifest["metadata"], "labels": template["metadata"]["labels"]},
                "spec": template["spec"],
            }


def admitted(server, pod):
    # Which account it is matters to the kubelet, and none exists on a bare server.
    pod = copy.deepcopy(pod)
    pod["spec"].pop("serviceAccountName", None)
    pod["spec"]["automountServiceAccountToken"] = False
    return dry_run(server, pod)


def test_every_pod_is_admitted_under_restricted(render, restricted):
    found = list(pods(render(FULL)))
    assert len(found) == 3
    for pod in found:
        status, answer = admitted(restricted, pod)
        assert status in {200, 201}, answer


def test_a_pod_that_could_gain_rights_is_refused(render, restricted):
    pod = copy.deepcopy(next(iter(pods(render()))))
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    status, answer = admitted(restricted, pod)
    assert status == 403, answer
    assert "restricted" in answer["message"]
