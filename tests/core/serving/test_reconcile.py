"""What a service needs next, and what its user is told.

Holds: core/serving/blocks.py, core/serving/metering.py, core/serving/observe.py,
core/serving/reconcile.py, core/serving/status.py, core/serving/step.py, core/serving/verdicts.py,
core/serving/pods/desired.py, core/serving/pods/readiness.py, core/serving/sizing/size.py,
core/conditions.py, core/plan.py, core/trouble.py
"""

from datetime import UTC, datetime

import pytest

from preamar.api.inference import InferenceService
from preamar.core.objects import Child, ClaimView
from preamar.core.plan import Applied, Plan, Ref, RefusedManifest, Scale, digest_of, ref_of
from preamar.core.serving.model.limits import UNSERVED
from preamar.core.serving.observe import DeploymentView, children_named
from preamar.core.serving.pods.desired import revision_of
from preamar.core.serving.reconcile import reconcile
from preamar.protocol.demand import Demand
from preamar.protocol.ownership import Claimant
from tests.core.builders import a_pod, a_service, condition, later, seen, sentence


def made(plan):
    return {ref_of(m).kind for m in plan.apply}


def test_a_new_service_gets_its_children_and_a_status():
    plan = reconcile(seen(a_service()))
    assert [ref_of(m).kind for m in plan.apply] == ["Service", "PodDisruptionBudget", "Deployment"]
    assert condition(plan, "Ready") == ("False", "Loading")
    assert condition(plan, "ModelAvailable") == ("Unknown", "NotLoadedYet")
    assert plan.status["status"]["observedGeneration"] == 3
    assert plan.status["metadata"]["uid"] == "uid-m"


def test_a_deleted_service_is_left_to_the_garbage_collector():
    gone = a_service(meta={"deletionTimestamp": "2026-01-01T00:00:00Z"})
    assert reconcile(seen(gone)) == Plan()


BLOCKS = [
    pytest.param({}, {"claims": {}}, "VolumeMissing", "'models' does not exist", id="a missing volume"),
    pytest.param({}, {"claims": {"models": ClaimView("models", "Lost", ("ReadWriteMany",))}}, "VolumeLost", "lost", id="a lost volume"),
    pytest.param({}, {"claims": {"models": ClaimView("models", "Bound", ("ReadWriteOnce",))}}, "VolumeNotShared", "ReadWriteOnce", id="a volume for one node and many replicas"),
    pytest.param({}, {"rivals": (Claimant(datetime(2020, 1, 1, tzinfo=UTC), "other", "m"),)}, "ModelNameTaken", "other/m", id="a model name that an older service has"),
    pytest.param({}, {"children": {Ref("v1", "Service", "demo", "m-serve"): Child("x", "1", None)}}, "ObjectNameTaken", "m-serve", id="somebody else's object under our name"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "facts", "reason", "words"), BLOCKS)
def test_stalls_before_any_pod_exists(spec, facts, reason, words):
    plan = reconcile(seen(a_service(**spec), **facts))
    assert (plan.apply, plan.scale, plan.delete) == ((), None, ())
    assert condition(plan, "Stalled") == ("True", reason)
    assert condition(plan, "Ready") == ("False", reason)
    assert words in sentence(plan, "Stalled")


ASKS = {
    "model.secretName": {"model": {"secretName": "s"}},
    "model.task": {"model": {"task": "Rank"}},
    "optimize.precision": {"optimize": {"precision": "FP8"}},
    "optimize.sparsity.type": {
        "accelerator": {"type": "GPU"},
        "optimize": {"sparsity": {"type": "TwoFour"}},
    },
    "optimize.engine": {
        "accelerator": {"type": "GPU"},
        "model": {"task": "Generate"},
        "optimize": {"engine": "TensorRT"},
    },
    "optimize.calibrationUri": {"optimize": {"calibrationUri": "s3://a/b"}},
    "model.format": {"model": {"format": "TorchScript"}},
    "runtime.instances": {
        "accelerator": {"type": "GPU"},
        "model": {"format": "VLLM"},
        "runtime": {"instances": 2},
    },
    "parallelism.nodes": {"accelerator": {"type": "GPU"}, "parallelism": {"nodes": 2}},
    "parallelism.nodes with optimize": {
        "parallelism": {"nodes": 2},
        "optimize": {"precision": "INT8"},
    },
    "parallelism.tensor": {"parallelism": {"tensor": 2}},
    "parallelism.pipeline": {"parallelism": {"pipeline": 2}},
    "parallelism.expert": {"parallelism": {"expert": 2}},
    "accelerator.sharing": {"accelerator": {"type": "GPU", "sharing": "MIG"}},
    "placement.topology": {"placement": {"topology": "Rack"}},
    "scaling.target.signal": {"scaling": {"target": {"signal": "QueueSeconds"}}},
}


@pytest.mark.parametrize("row", UNSERVED, ids=lambda row: row.field)
def test_a_wish_that_cannot_be_fulfilled_is_named(row):
    plan = reconcile(seen(a_service(**ASKS[row.field])))
    assert condition(plan, "Stalled") == ("True", "Unsupported")
    assert f"spec.{row.field} is not supported" in sentence(plan, "Stalled")


def test_the_oldest_service_keeps_its_name():
    young = Claimant(later(0), "other", "m")
    assert made(reconcile(seen(a_service(), rivals=(young,)))) >= {"Deployment"}


def test_a_blocked_service_that_should_sleep_gives_its_accelerators_back():
    service = a_service(replicas=0, placement={"topology": "Rack"})
    ref = children_named(service)[0]
    plan = reconcile(
        seen(
            service,
            children={ref: Child("d", "1", "uid-m")},
            deployment=DeploymentView("d", "1"),
        )
    )
    assert [d.ref for d in plan.delete] == [ref]


def test_sleeps_as_ready_once_its_model_has_loaded():
    service = a_service(replicas=0, status={"revision": revision_of(a_service())})
    plan = reconcile(seen(service, demand=Demand(0)))
    assert condition(plan, "Ready") == ("True", "Asleep")
    assert plan.scale is None


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("Managed", "the first request wakes it"),
        ("External", "whoever sizes it wakes it"),
        ("Fixed", "until spec.replicas is raised"),
    ],
)
def test_a_sleeping_service_says_who_wakes_it(mode, words):
    service = a_service(scaling={"mode": mode, "min": 0}, replicas=0)
    asleep = a_service(
        scaling={"mode": mode, "min": 0}, replicas=0, status={"revision": revision_of(service)}
    )
    plan = reconcile(seen(asleep, demand=Demand(in_flight=0)))
    assert condition(plan, "Ready") == ("True", "Asleep")
    assert words in sentence(plan, "Ready")


def test_a_changed_model_is_not_asleep_but_loads_once():
    service = a_service(replicas=0, status={"revision": "of-old"})
    plan = reconcile(seen(service, demand=Demand(0)))
    assert condition(plan, "Ready") == ("False", "Loading")
    assert plan.scale.replicas == 1


def test_the_scaler_writes_with_the_version_it_decided_on_and_the_deployment_follows():
    plan = reconcile(seen(a_service(), demand=Demand(17, queued=17)))
    ref = Ref("preamar.dev/v1alpha1", "InferenceService", "demo", "m")
    assert plan.scale == Scale(ref, 3, "7")
    assert plan.apply[2]["spec"]["replicas"] == 3
    assert plan.status["status"]["decisions"][0]["replicas"] == 3


@pytest.mark.parametrize("mode", ["External", "Fixed"])
def test_only_mode_managed_writes_the_size(mode):
    plan = reconcile(seen(a_service(replicas=2, scaling={"mode": mode}), demand=Demand(900)))
    assert plan.scale is None
    assert plan.apply[2]["spec"]["replicas"] == 2


def test_what_was_applied_is_not_applied_again_until_somebody_changes_it():
    service = a_service()
    first = reconcile(seen(service))
    refs = [ref_of(m) for m in first.apply]
    sent = {r: Applied(digest_of(m), "5") for r, m in zip(refs, first.apply, strict=True)}
    there = {r: Child("x", "5", "uid-m") for r in refs}
    assert reconcile(seen(service, children=there, applied=sent)).apply == ()
    changed = there | {refs[0]: Child("x", "6", "uid-m")}
    assert [
        ref_of(m) for m in reconcile(seen(service, children=changed, applied=sent)).apply
    ] == refs[:1]


def test_what_the_api_server_refused_is_told_and_not_sent_again():
    service = a_service()
    deployment = reconcile(seen(service)).apply[2]
    no = {ref_of(deployment): RefusedManifest(digest_of(deployment), "exceeded quota")}
    plan = reconcile(seen(service, refused=no))
    assert "Deployment" not in made(plan)
    assert condition(plan, "Stalled") == ("True", "Refused")
    assert "exceeded quota" in sentence(plan, "Stalled")


def test_a_second_pass_over_the_same_facts_says_nothing_new():
    service = a_service()
    first = reconcile(seen(service, pods=(a_pod(service),)))
    body = service.model_dump(by_alias=True, mode="json", exclude_none=True)
    told = InferenceService.model_validate(body | {"status": first.status["status"]})
    second = reconcile(seen(told, pods=(a_pod(service),), now=later(40)))
    assert (second.status, second.events) == (None, ())


def test_the_history_of_sizes_is_bounded():
    old = [
        {"replicas": n % 4, "reason": "DemandMet", "at": "2026-01-01T00:00:00Z"} for n in range(20)
    ]
    plan = reconcile(seen(a_service(status={"decisions": old}), demand=Demand(17)))
    assert len(plan.status["status"]["decisions"]) == 20
