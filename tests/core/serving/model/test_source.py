"""Models come from where the user says, onto a volume that his replicas can share.

Holds: core/serving/model/source.py, core/serving/artifact/prefetch.py, core/serving/pods/worker.py
"""

from json import loads

import pytest

from preamar.core.objects import Child, ClaimView
from preamar.core.plan import ref_of
from preamar.core.serving.pods.desired import revision_of
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


GPU = {"model": {"uri": "hf://o/m", "secretName": "keys"}, "accelerator": {"type": "GPU"}}


def jobs(service, **more):
    mode = more.pop("mode", "ReadWriteMany")
    claims = {"preamar-models": claim(mode), "c": ClaimView("c", "Bound", ("ReadWriteMany",))}
    plan = reconcile(seen(service, settings=SETTINGS, claims=claims, **more))
    return [m for m in plan.apply if m["kind"] == "Job"]


def test_a_model_is_fetched_without_an_accelerator_before_its_replicas_have_a_node():
    (job,) = jobs(a_service(**GPU))
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["preamar-model", "fetch"]
    assert "nvidia.com/gpu" not in str(container["resources"])
    assert {v["name"] for v in pod["volumes"]} == {"cache", "credentials", "tmp"}
    assert "preamar.dev/inferenceservice" not in job["spec"]["template"]["metadata"]["labels"]
    assert job["metadata"]["ownerReferences"][0]["uid"] == "uid-m"


def test_a_job_that_is_there_is_left_alone_and_a_loaded_model_needs_none():
    service = a_service(**GPU)
    (job,) = jobs(service)
    there = {ref_of(job): Child("j", "1", "uid-m")}
    assert jobs(service, children=there) == []
    loaded = a_service(**GPU, status={"revision": revision_of(service)})
    assert jobs(loaded) == []


@pytest.mark.parametrize(
    ("change", "mode"),
    [
        ({"accelerator": {"type": "CPU"}}, "ReadWriteMany"),
        ({"scaling": {"max": 1}}, "ReadWriteOnce"),
        ({"model": {"uri": "pvc://c/m", "secretName": None}}, "ReadWriteMany"),
    ],
    ids=["a node is there", "the cache is one node's", "the model is mounted"],
)
def test_nothing_is_fetched_ahead_where_it_would_not_help(change, mode):
    assert jobs(a_service(**{**GPU, **change}), mode=mode) == []


def test_another_model_is_another_job():
    names = [
        jobs(a_service(**{**GPU, "model": model}))[0]["metadata"]["name"]
        for model in ({"uri": "hf://o/m"}, {"uri": "hf://o/m2"}, {"uri": "hf://o/m"})
    ]
    assert names[0] == names[2] != names[1]
