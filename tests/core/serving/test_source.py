"""Models come from where the user says, onto a volume that his replicas can share."""

from json import loads

import pytest

from preamar.core.objects import ClaimView
from preamar.core.serving.reconcile import reconcile
from preamar.core.settings import Settings
from tests.core.builders import a_service, condition, seen

SETTINGS = Settings(model_cache_bytes=5, model_hosts=("minio.demo:9000",))


def pod_of(service, settings=SETTINGS, **claims):
    plan = reconcile(seen(service, settings=settings, claims=claims))
    (deployment,) = [m for m in plan.apply if m["kind"] == "Deployment"]
    return deployment["spec"]["template"]["spec"], deployment["spec"]


def parts(pod):
    """Volumes by name, mounts of the container that prepares the model by name, its order."""
    (model,) = pod["initContainers"]
    order = loads(next(e["value"] for e in model["env"] if e["name"] == "PREAMAR_MODEL"))
    volumes = {v["name"]: {k: v[k] for k in v if k != "name"} for v in pod["volumes"]}
    return volumes, {m["name"]: m for m in model["volumeMounts"]}, order


def claim(*modes, **more):
    return ClaimView("preamar-models", more.pop("phase", "Bound"), modes, **more)


REMOTE = [
    "hf://org/model",
    "hf://org/model@v1/onnx",
    "s3://b/m",
    "gs://b/m",
    "az://c/m",
    "https://h/m",
]


@pytest.mark.parametrize("uri", REMOTE)
def test_what_lies_elsewhere_is_fetched_into_a_volume_of_the_pod(uri):
    volumes, mounts, order = parts(pod_of(a_service(model={"uri": uri}))[0])
    assert volumes["cache"] == {"emptyDir": {}}
    assert mounts["cache"]["mountPath"] == "/mnt/cache"
    assert (order["uri"], order["cacheBytes"], order["hosts"]) == (uri, 5, ["minio.demo:9000"])
    assert "source" not in order
    assert "source" not in volumes
    assert "credentials" not in volumes


def test_a_secret_is_mounted_by_the_kubelet_and_only_where_the_model_is_fetched():
    service = a_service(model={"uri": "s3://b/m", "secretName": "keys"})
    pod, _ = pod_of(service)
    volumes, mounts, _ = parts(pod)
    assert volumes["credentials"] == {"secret": {"secretName": "keys", "defaultMode": 0o440}}
    assert mounts["credentials"]["readOnly"]
    (server,) = pod["containers"]
    assert {"cache", "credentials"}.isdisjoint(m["name"] for m in server["volumeMounts"])


@pytest.mark.parametrize("scheme", ["image", "oci"])
def test_a_model_in_an_image_is_mounted(scheme):
    volumes, mounts, order = parts(pod_of(a_service(model={"uri": f"{scheme}://r.io/m:1"}))[0])
    assert volumes["source"]["image"]["reference"] == "r.io/m:1"
    assert mounts["source"]["readOnly"]
    assert order["source"] == "/mnt/model"


@pytest.mark.parametrize("uri", ["pvc://c/m", "image://r.io/m:1", "oci://r.io/m:1"])
def test_credentials_for_a_model_that_is_mounted_are_refused(uri):
    plan = reconcile(seen(a_service(model={"uri": uri, "secretName": "keys"})))
    assert condition(plan, "Stalled") == ("True", "Unsupported")


KEPT = {"persistentVolumeClaim": {"claimName": "preamar-models"}}
PODS_OWN = {"emptyDir": {}}
CASES = [
    pytest.param(claim("ReadWriteMany"), 4, KEPT, 1, id="one that all share"),
    pytest.param(claim("ReadWriteOnce"), 1, KEPT, 0, id="one node's for one replica"),
    pytest.param(claim("ReadWriteOnce"), 4, PODS_OWN, 1, id="one node's for several"),
    pytest.param(claim("ReadOnlyMany"), 1, PODS_OWN, 1, id="one that nobody can write to"),
    pytest.param(claim("ReadWriteMany", phase="Lost"), 4, PODS_OWN, 1, id="a lost one"),
    pytest.param(claim("ReadWriteMany", deleting=True), 4, PODS_OWN, 1, id="one that is deleted"),
]


@pytest.mark.parametrize(("found", "most", "volume", "surge"), CASES)
def test_models_are_kept_on_a_claim_that_the_replicas_can_have_at_once(found, most, volume, surge):
    service = a_service(model={"uri": "hf://o/m"}, scaling={"max": most})
    pod, spec = pod_of(service, **{"preamar-models": found})
    assert parts(pod)[0]["cache"] == volume
    assert spec["strategy"]["rollingUpdate"]["maxSurge"] == surge


def test_no_claim_is_used_where_the_installation_names_none():
    service = a_service(model={"uri": "hf://o/m"})
    settings = Settings(model_cache_claim="")
    pod, _ = pod_of(service, settings, **{"": claim("ReadWriteMany")})
    assert parts(pod)[0]["cache"] == PODS_OWN
