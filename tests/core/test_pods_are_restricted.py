"""Everything we make is deterministic, ours, and passes the Restricted pod security standard.

Holds: core/metadata.py, core/serving/pods/desired.py, core/serving/pods/pod.py,
core/serving/pods/worker.py, core/training/pods/desired.py, core/training/pods/material.py,
core/training/pods/pod.py
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preamar.core.objects import ClaimView
from preamar.core.plan import digest_of, ref_of
from preamar.core.serving.reconcile import reconcile as serve
from preamar.core.training.reconcile import reconcile as train
from tests.core.builders import a_job, a_service, seen, watched

names = st.from_regex(r"[a-z]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
capacities = st.sampled_from(["OnDemand", "Spot", "SpotThenOnDemand"])
types = st.sampled_from(["CPU", "GPU"])


def plans(name, capacity, kind, env):
    accelerator = {"type": kind, "products": ["NVIDIA-L4"]}
    placement = {"capacity": capacity, "nodeSelector": {"zone": "a"}}
    variables = [{"name": "OMP_NUM_THREADS", "value": "3"}] if env else []
    service = a_service(
        name, accelerator=accelerator, placement=placement, runtime={"env": variables}
    )
    job = a_job(name, accelerator=accelerator, placement=placement, env=variables)
    return [*serve(seen(service)).apply, *train(watched(job)).apply]


def prepared(name, capacity, kind, env):
    """Pods that bring a model, or make another of it."""
    change = {"optimize": {"precision": "INT8"}} if kind == "CPU" else {}
    service = a_service(
        name,
        accelerator={"type": kind},
        placement={"capacity": capacity},
        model={"uri": "hf://o/m", "secretName": "keys"},
        runtime={"env": [{"name": "HOME", "value": "/"}] if env else []},
        **change,
    )
    cache = {"preamar-models": ClaimView("preamar-models", "Bound", ("ReadWriteMany",))}
    made = serve(seen(service, claims=cache)).apply
    assert next(m["kind"] for m in made) == "Job"
    return made


def pods(manifests):
    return [m["spec"]["template"]["spec"] for m in manifests if "template" in m["spec"]]


@given(names, capacities, types, st.booleans())
def test_pods_are_restricted_and_hold_no_token(name, capacity, kind, env):
    for pod in pods([*plans(name, capacity, kind, env), *prepared(name, capacity, kind, env)]):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in [*pod.get("initContainers", ()), *pod["containers"]]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            variables = [v["name"] for v in container["env"]]
            assert len(variables) == len(set(variables))
        assert not any("hostPath" in v for v in pod["volumes"])


@given(names, capacities, types, st.booleans())
def test_children_are_deterministic_with_unique_names_and_one_owner(name, capacity, kind, env):
    first, second = plans(name, capacity, kind, env), plans(name, capacity, kind, env)
    assert [digest_of(m) for m in first] == [digest_of(m) for m in second]
    refs = [ref_of(m) for m in first]
    assert len(set(refs)) == len(refs) == 5
    for manifest in first:
        (owner,) = manifest["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"]) == (f"uid-{name}", True)
        assert len(manifest["metadata"]["name"]) <= 63


@pytest.mark.parametrize(
    ("capacity", "terms"), [("OnDemand", 1), ("Spot", 4), ("SpotThenOnDemand", 0)]
)
def test_spot_machines_are_avoided_required_or_preferred(capacity, terms):
    service = a_service(placement={"capacity": capacity})
    (pod,) = pods(serve(seen(service)).apply)
    affinity = pod["affinity"]["nodeAffinity"]
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {})
    assert len(required.get("nodeSelectorTerms", ())) == terms
    assert bool(affinity.get("preferredDuringSchedulingIgnoredDuringExecution")) == (terms == 0)
    spot = [t for t in pod.get("tolerations", ()) if "spot" in t["key"] or "scaleset" in t["key"]]
    assert bool(spot) == (capacity != "OnDemand")


def test_gpu_pods_ask_for_accelerators_and_several_do_not_wait_for_one_more():
    service = a_service(accelerator={"type": "GPU", "count": 2}, replicas=3)
    deployment = serve(seen(service)).apply[2]
    pod = deployment["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": "2"}
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}


def test_a_roll_out_on_cpu_loses_no_capacity():
    deployment = serve(seen(a_service())).apply[2]
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_a_pod_that_must_go_keeps_its_time_to_drain():
    pod = pods(serve(seen(a_service(drain={"seconds": 90}))).apply)[0]
    assert pod["terminationGracePeriodSeconds"] > 90
    assert pod["containers"][0]["lifecycle"]["preStop"] == {"sleep": {"seconds": 5}}
    probes = [pod["containers"][0][f"{kind}Probe"] for kind in ("startup", "readiness", "liveness")]
    assert all(probe["timeoutSeconds"] >= 5 for probe in probes)
