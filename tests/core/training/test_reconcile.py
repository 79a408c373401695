"""What a training job needs next, and what its user is told.

Holds: core/training/lifecycle.py, core/training/observe.py, core/training/reconcile.py,
core/training/status.py, core/training/step.py, core/training/verdicts.py,
core/training/admission/blocks.py, core/training/admission/limits.py,
core/training/attempts/saved.py, core/training/pods/desired.py, core/training/pods/material.py,
core/training/pods/pod.py, core/training/rules/ended.py, core/training/rules/running.py,
core/training/rules/situation.py
"""

from json import loads

import pytest

from preamar.core.objects import Child, ClaimView
from preamar.core.plan import Plan, Ref, RefusedManifest, digest_of, ref_of
from preamar.core.training.admission.limits import STOPS, WAITS
from preamar.core.training.backends.deepspeed.configuration import OWNED_IN_ZERO, OWNED_KEYS
from preamar.core.training.pods.desired import order_digest
from preamar.core.training.progress import ProgressReport
from preamar.core.training.reconcile import reconcile
from preamar.protocol.labels import ORDER, RESTARTS
from tests.core.builders import (
    SHARED,
    a_job,
    a_rank,
    an_attempt,
    condition,
    later,
    sentence,
    watched,
)

CHECKPOINT = {"step": 50, "uri": "pvc://data/ckpt", "verified": True}
FAILED = {"outcome": "Failed", "class": "Killed", "explanation": "gone"}
DONE = {
    "outcome": "Done",
    "step": 1000,
    "consumed": 64000,
    "exported": "pvc://models/gpt",
    "evaluation": {"loss": "2.5", "unigram": "3.1"},
}


def running(job, **more):
    return an_attempt(annotations={ORDER: order_digest(job), RESTARTS: "0"}, active=2, **more)


def started(plan):
    return [ref_of(m).name for m in plan.apply if m["kind"] == "Job"]


def test_a_new_job_starts_its_first_attempt():
    plan = reconcile(watched(a_job()))
    assert [ref_of(m).name for m in plan.apply] == ["t-ranks", "t-1"]
    job = plan.apply[1]
    assert (job["spec"]["completions"], job["spec"]["parallelism"]) == (2, 2)
    assert job["spec"]["backoffLimit"] == 0
    env = {v["name"]: v["value"] for v in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert (env["WORLD_SIZE"], env["MASTER_ADDR"]) == ("2", "t-1-0.t-ranks")
    assert loads(env["PREAMAR_TRAIN"])["batch"] == {"global": 64, "micro": 8, "accumulation": 4}
    assert condition(plan, "Succeeded") == ("Unknown", "InProgress")
    assert condition(plan, "ContinuityVerified")[0] == "Unknown"
    assert plan.status["status"]["attempt"] == 1


def test_a_deleted_job_is_left_to_the_garbage_collector():
    assert reconcile(watched(a_job(meta={"deletionTimestamp": "2026-01-01T00:00:00Z"}))) == Plan()


BLOCKS = [
    pytest.param({}, {"claims": {}}, "VolumeMissing", id="a missing volume"),
    pytest.param({}, {"claims": {"data": ClaimView("data", "Bound", ("ReadWriteOnce",))}}, "VolumeNotShared", id="a volume for one node and two workers"),
    pytest.param({}, {"claims": {"data": ClaimView("data", "Bound", ("ReadOnlyMany",))}}, "VolumeReadOnly", id="a checkpoint that cannot be written"),
    pytest.param({"workers": {"replicas": 3}}, {}, "BatchNotDivisible", id="a batch that cannot be split"),
    pytest.param({"batch": {"micro": 32}, "workers": {"replicas": 4}}, {}, "BatchNotDivisible", id="a micro batch that cannot be split"),
    pytest.param({"workers": {"resources": {"limits": {"memory": "8Mi"}}}}, {}, "MemoryTooSmall", id="ranks that cannot fit"),
    pytest.param({"deepspeedConfig": {"elasticity": {"enabled": True}}}, {}, "Unsupported", id="a size of DeepSpeed's choice"),
    pytest.param({}, {"children": {Ref("batch/v1", "Job", "demo", "t-1"): Child("x", "1", "z")}}, "ObjectNameTaken", id="somebody else's Job under our name"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "facts", "reason"), BLOCKS)
def test_stalls_before_any_pod_exists(spec, facts, reason):
    plan = reconcile(watched(a_job(**spec), **facts))
    assert (plan.apply, plan.delete) == ((), ())
    assert condition(plan, "Stalled") == ("True", reason)
    assert plan.status["status"]["attempt"] == 0


@pytest.mark.parametrize(
    ("bad", "good"),
    [
        ({"replicas": 3}, {"replicas": 4}),
        (
            {"resources": {"limits": {"memory": "8Mi"}}},
            {"resources": {"limits": {"memory": "1Gi"}}},
        ),
    ],
    ids=["an impossible size", "too little memory"],
)
def test_an_edit_to_a_valid_size_recovers(bad, good):
    stalled = reconcile(watched(a_job(workers=bad)))
    assert started(stalled) == []
    assert "workers." in sentence(stalled, "Stalled")
    before = {k: v for k, v in stalled.status["status"].items() if v is not None}
    plan = reconcile(watched(a_job(workers=good, status=before)))
    assert started(plan) == ["t-1"]
    assert condition(plan, "Stalled") == ("False", "Progressing")


def test_an_impossible_wish_is_told_even_if_the_checkpoints_size_would_run():
    job = a_job(
        workers={"replicas": 3}, status={"attempt": 1, "worldSize": 2, "checkpoint": CHECKPOINT}
    )
    dead = an_attempt(failed=True, ended_at=later(-600))
    plan = reconcile(watched(job, jobs=(dead,), pods=(a_rank(0, code=75), a_rank(1, code=75))))
    assert started(plan) == []
    assert condition(plan, "Stalled") == ("True", "BatchNotDivisible")


def test_a_kind_that_cannot_be_resized_lists_its_size_and_says_why():
    experts = {"parallelism": {"expert": 2}, "image": "x:1", "command": ["train"]}
    wanted = a_job(workers={"replicas": 3}, **experts)
    assert reconcile(watched(wanted)).status["status"]["validWorldSizes"] == [2]
    job = a_job(workers={"replicas": 4}, status={"attempt": 1, "checkpoint": CHECKPOINT}, **experts)
    three = running(job, workers=3)  # from before an edit of the batch
    pods = tuple(a_rank(n) for n in range(3))
    plan = reconcile(watched(job, jobs=(three,), pods=pods))
    assert plan.status["status"]["validWorldSizes"] == [3]
    assert "expert parallelism cannot" in sentence(plan, "Running")


def test_the_quote_is_of_the_size_that_runs():
    one = reconcile(watched(a_job(workers={"replicas": 1}))).status["status"]["quote"]
    job = a_job(workers={"replicas": 4})
    plan = reconcile(watched(job, jobs=(running(job, workers=1),), pods=(a_rank(0),)))
    assert plan.status["status"]["quote"] == one


def test_a_need_beyond_all_numbers_is_not_quoted():
    model = {"parameters": {"layers": 10**9, "hidden": 10**9, "heads": 1}}
    assert "quote" not in reconcile(watched(a_job(model=model))).status["status"]


def test_the_sizes_a_scale_may_ask_for_and_what_a_rank_needs_are_told():
    status = reconcile(watched(a_job())).status["status"]
    assert status["validWorldSizes"] == [1, 2, 4]
    # gpt-tiny in 16 bits on two ranks, in micro batches of 8. On GPUs as documented: 20 bytes a
    # weight, 16 of them halved; on CPUs as measured: 6, and half of 20 and 4 for summing up.
    weights, tokens = 1_000_576, 8 * 128
    layer = tokens * 128 * 34 + tokens * 128 * 4 * 2
    kept = 4 * layer + tokens * (4 * 128 + 16 * 2048)
    need = 6 * weights + 24 * weights // 2 + int(1.15 * kept)
    assert status["quote"] == {"memoryBytesPerRank": need, "memoryErrorPercent": "25"}
    gpu = reconcile(watched(a_job(accelerator={"type": "GPU"}))).status["status"]["quote"]
    documented = 4 * weights + 16 * weights // 2 + kept - 4 * tokens * 128 * 4 * 2
    assert gpu == {"memoryBytesPerRank": documented}
    own = a_job(image="x:1", command=["train"])
    assert "quote" not in reconcile(watched(own)).status["status"]


def test_what_the_trainer_cannot_do_yet_and_what_nobody_can_are_told_apart():
    offloaded = {"tensor": 2, "offload": "CPU"}
    plan = reconcile(watched(a_job(parallelism=offloaded, workers={"replicas": 3})))
    assert condition(plan, "Stalled") == ("True", "Unsupported")
    assert plan.status["status"]["validWorldSizes"] == [2, 4]
    plan = reconcile(watched(a_job(parallelism={"tensor": 2}, workers={"replicas": 3})))
    assert condition(plan, "Stalled") == ("True", "RanksNotDivisible")


@pytest.mark.parametrize(
    ("preset", "parallelism"),
    [
        ("gpt-tiny", {"tensor": 2}),
        ("gpt-tiny", {"pipeline": 2}),
        ("gpt-tiny", {"pipeline": 2, "zeroStage": 0}),
        ("moe-tiny", {"expert": 2}),
        ("moe-tiny", {"expert": 2, "zeroStage": 2}),
        ("moe-small", {"zeroStage": 3}),
    ],
)
def test_what_the_trainer_can_split_is_started(preset, parallelism):
    job = a_job(model={"preset": preset}, parallelism=parallelism)
    assert started(reconcile(watched(job))) == ["t-1"]


def test_an_impossible_size_is_told_while_the_job_trains_on():
    job = a_job(workers={"replicas": 3}, status={"attempt": 1, "checkpoint": CHECKPOINT})
    plan = reconcile(watched(job, jobs=(running(job),), pods=(a_rank(0), a_rank(1))))
    assert condition(plan, "Running") == ("True", "KeepsItsSize")
    assert "Set workers.replicas to 2 or 4." in sentence(plan, "Running")


ASKS = {
    "checkpoint.uri": {"checkpoint": {"uri": "s3://b/c"}},
    "data.sources": {"data": {"sources": [{"name": "a", "uri": "hf://o/d"}]}},
    "export.uri": {"export": {"uri": "gs://b/c"}},
    "parallelism.tensor": {"model": {"preset": "moe-tiny"}, "parallelism": {"tensor": 2}},
    "parallelism.pipeline": {"model": {"preset": "moe-tiny"}, "parallelism": {"pipeline": 2}},
    "parallelism.zeroStage": {
        "model": {"preset": "moe-tiny"},
        "parallelism": {"expert": 2, "zeroStage": 3},
    },
    "parallelism.offload": {"parallelism": {"offload": "CPU"}},
    "data.prepare.target": {"data": {"prepare": {"target": "s3://b/c"}}},
    "deepspeedConfig": {"deepspeedConfig": {"train_batch_size": 8}},
    "finishBy": {"finishBy": "2027-01-01T00:00:00Z"},
    "budget": {"budget": {"limit": "5"}},
    "placement.topology": {"placement": {"topology": "NVLink"}},
    "accelerator.sharing": {"accelerator": {"type": "GPU", "sharing": "MIG"}},
    "args": {"args": ["--fast"]},
}


@pytest.mark.parametrize("row", STOPS, ids=lambda row: row.field)
def test_a_wish_that_cannot_be_fulfilled_is_named(row):
    plan = reconcile(watched(a_job(**ASKS[row.field])))
    assert condition(plan, "Stalled") == ("True", "Unsupported")
    assert f"spec.{row.field} is not supported" in sentence(plan, "Stalled")


@pytest.mark.parametrize(
    "config",
    [
        *({key: 1} for key in sorted(OWNED_KEYS)),
        *({"zero_optimization": {key: 1}} for key in sorted(OWNED_IN_ZERO)),
    ],
    ids=str,
)
def test_a_key_that_the_planner_owns_is_named(config):
    told = sentence(reconcile(watched(a_job(deepspeedConfig=config))), "Stalled")
    ((key, value),) = config.items()
    name = f"{key}.{next(iter(value))}" if isinstance(value, dict) else key
    assert told.endswith(f"remove {name}")


def test_what_would_change_the_batch_or_the_lattice_is_owned():
    batch = {"train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps"}
    lattice = {"tensor_parallel", "pipeline", "expert_parallel", "sequence_parallel_size"}
    assert batch | lattice | {"elasticity", "autotuning"} <= OWNED_KEYS
    assert {"stage", "offload_param", "offload_optimizer"} <= OWNED_IN_ZERO


def test_other_keys_pass_through():
    config = {"gradient_clipping": 0.5, "zero_optimization": {"overlap_comm": True}}
    plan = reconcile(watched(a_job(deepspeedConfig=config)))
    assert started(plan) == ["t-1"]


def test_a_wish_without_effect_yet_is_named_and_the_job_runs():
    plan = reconcile(watched(a_job(priority=3)))
    assert condition(plan, "Stalled")[0] == "False"
    assert all(f"spec.{row.field}" in sentence(plan, "Stalled") for row in WAITS)
    assert started(plan) == ["t-1"]


def test_the_next_attempt_waits_for_the_pods_of_the_last():
    job = a_job(status={"attempt": 1})
    dead = an_attempt(failed=True, ended_at=later(-600))
    pods = (a_rank(0, code=137, words=FAILED), a_rank(1))
    assert started(reconcile(watched(job, jobs=(dead,), pods=pods))) == []
    over = (a_rank(0, code=137, words=FAILED), a_rank(1, code=75))
    plan = reconcile(watched(job, jobs=(dead,), pods=over))
    assert started(plan) == ["t-2"]
    assert plan.apply[-1]["metadata"]["annotations"][RESTARTS] == "1"
    assert plan.status["status"]["failure"]["class"] == "Killed"


def test_a_failure_is_followed_by_a_pause():
    dead = an_attempt(failed=True, ended_at=later(-4))
    pods = (a_rank(0, code=137, words=FAILED), a_rank(1, code=75))
    plan = reconcile(watched(a_job(status={"attempt": 1}), jobs=(dead,), pods=pods))
    assert (started(plan), plan.recheck_in) == ([], 6.0)


@pytest.mark.parametrize(("lasted", "pause"), [(599, 80), (600, 10)])
def test_a_pause_grows_with_failures_in_a_row_and_not_with_those_of_long_ago(lasted, pause):
    dead = an_attempt(
        4, failed=True, started=later(-4 - lasted), ended_at=later(-4), annotations={RESTARTS: "3"}
    )
    pods = (a_rank(0, 4, 137, words=FAILED), a_rank(1, 4, 75))
    plan = reconcile(watched(a_job(status={"attempt": 4}), jobs=(dead,), pods=pods))
    assert (started(plan), plan.recheck_in) == ([], pause - 4.0)


@pytest.mark.parametrize(
    ("words", "code", "counted"),
    [(FAILED, 137, 1), ({"outcome": "Stopped"}, 75, 0)],
    ids=["a failure counts", "a stop on request does not"],
)
def test_only_failures_count(words, code, counted):
    dead = an_attempt(failed=True, ended_at=later(-600))
    pods = (a_rank(0, code=code, words=words), a_rank(1, code=code, words=words))
    plan = reconcile(watched(a_job(status={"attempt": 1}), jobs=(dead,), pods=pods))
    assert plan.apply[-1]["metadata"]["annotations"][RESTARTS] == str(counted)


def test_fails_when_the_users_limit_is_used_up():
    dead = an_attempt(3, failed=True, ended_at=later(-600), annotations={RESTARTS: "2"})
    pods = (a_rank(0, 3, 137, words=FAILED), a_rank(1, 3, 75))
    plan = reconcile(watched(a_job(restarts={"limit": 2}), jobs=(dead,), pods=pods))
    assert started(plan) == []
    assert condition(plan, "Succeeded") == ("False", "RestartsExhausted")
    assert "gone" in sentence(plan, "Stalled")
    more = reconcile(watched(a_job(restarts={"limit": 3}), jobs=(dead,), pods=pods))
    assert started(more) == ["t-4"]


def test_interruptions_are_free_and_still_bounded():
    job = a_job(status={"attempt": 102})
    dead = an_attempt(102, failed=True, ended_at=later(-600))
    pods = (a_rank(0, 102, 75), a_rank(1, 102, 75))
    plan = reconcile(watched(job, jobs=(dead,), pods=pods))
    assert condition(plan, "Succeeded") == ("False", "TooManyInterruptions")


def test_the_users_error_is_not_tried_again_until_he_edits():
    words = {"outcome": "Failed", "class": "ConfigError", "explanation": "no such preset"}
    job = a_job()
    dead = an_attempt(failed=True, ended_at=later(-600), annotations={ORDER: order_digest(job)})
    pods = (a_rank(0, code=1, words=words), a_rank(1, code=75))
    plan = reconcile(watched(job, jobs=(dead,), pods=pods))
    assert started(plan) == []
    assert condition(plan, "Stalled") == ("True", "ConfigError")
    assert "no such preset" in sentence(plan, "Succeeded")
    assert started(reconcile(watched(a_job(steps=5), jobs=(dead,), pods=pods))) == ["t-2"]


def test_a_finished_job_tells_what_came_of_it_and_never_starts_again():
    done = an_attempt(complete=True, ended_at=later(-5))
    pods = (a_rank(0, code=0, words=DONE), a_rank(1, code=0))
    plan = reconcile(watched(a_job(), jobs=(done,), pods=pods))
    status = plan.status["status"]
    assert condition(plan, "Succeeded") == ("True", "Done")
    assert status["exported"] == "pvc://models/gpt"
    assert status["evaluation"] == {"loss": "2.500000", "unigram": "3.100000"}
    assert status["samples"] == {"consumed": 64000, "skipped": 0, "duplicated": 0}
    bare = a_job(
        status={
            "attempt": 1,
            "conditions": status["conditions"],
            "finishedAt": status["finishedAt"],
        }
    )
    assert started(reconcile(watched(bare))) == []


def test_suspending_stops_the_attempt_and_resuming_starts_the_next():
    job = a_job(suspend=True, status={"attempt": 1})
    plan = reconcile(watched(job, jobs=(running(job),), pods=(a_rank(0), a_rank(1))))
    assert [d.ref.name for d in plan.delete] == ["t-1"]
    waiting = reconcile(watched(job, pods=(a_rank(0),)))
    assert condition(waiting, "Suspended") == ("False", "Suspending")
    assert condition(reconcile(watched(job)), "Suspended") == ("True", "Suspended")
    assert started(reconcile(watched(a_job(status={"attempt": 1})))) == ["t-2"]


def test_a_size_that_never_ran_is_replaced():
    job = a_job(workers={"replicas": 1}, status={"attempt": 1})
    pods = (a_rank(0, phase="Pending"), a_rank(1, phase="Pending", unschedulable="no room"))
    plan = reconcile(watched(job, jobs=(running(job),), pods=pods))
    assert [d.ref.name for d in plan.delete] == ["t-1"]


def test_other_edits_wait_for_the_next_attempt():
    job = a_job()
    plan = reconcile(watched(a_job(steps=7), jobs=(running(job),), pods=(a_rank(0), a_rank(1))))
    assert (plan.delete, started(plan)) == ((), [])
    assert "next attempt" in sentence(plan, "Running")


def test_a_pod_that_fits_nowhere_is_told_in_the_schedulers_words():
    job = a_job()
    pods = (a_rank(0, phase="Pending", unschedulable="0/1: Insufficient nvidia.com/gpu"),)
    plan = reconcile(watched(job, jobs=(running(job),), pods=pods))
    assert condition(plan, "Stalled") == ("True", "Unschedulable")
    assert "Insufficient nvidia.com/gpu" in sentence(plan, "Stalled")


def test_the_deadline_stops_it_and_says_so():
    job = a_job(
        activeDeadlineSeconds=60, status={"attempt": 1, "startedAt": "2026-01-01T11:00:00Z"}
    )
    plan = reconcile(watched(job, jobs=(running(job),), pods=(a_rank(0), a_rank(1))))
    assert [d.ref.name for d in plan.delete] == ["t-1"]
    assert condition(reconcile(watched(job)), "Succeeded") == ("False", "DeadlineExceeded")


def test_an_ended_job_goes_when_its_time_is_over():
    done = an_attempt(complete=True, ended_at=later(-5))
    ended = {"attempt": 1, "finishedAt": "2026-01-01T11:59:00Z"}
    job = a_job(ttlSecondsAfterFinished=60, status=ended)
    plan = reconcile(watched(job, jobs=(done,)))
    assert [(d.ref.kind, d.uid) for d in plan.delete] == [("TrainingJob", "uid-t")]
    later_on = reconcile(watched(a_job(ttlSecondsAfterFinished=90, status=ended), jobs=(done,)))
    assert (later_on.delete, later_on.recheck_in) == ((), 30.0)


def test_progress_of_this_attempt_is_told_and_of_another_is_not():
    job = a_job(steps=100)
    words = {"attempt": 1, "state": "Training", "step": 40, "steps": 100, "loss": 2.5,
             "samplesPerSecond": 64.0, "consumed": 2560,
             "checkpoint": {"step": 30, "uri": "pvc://data/ckpt", "bytes": 5}}  # fmt: skip
    pods = (a_rank(0), a_rank(1))
    plan = reconcile(
        watched(job, jobs=(running(job),), pods=pods, progress=ProgressReport.of(words))
    )
    told = plan.status["status"]
    assert told["progress"] == {
        "step": 40,
        "steps": 100,
        "loss": "2.5000",
        "samplesPerSecond": "64.0000",
        "etaSeconds": 60,
    }
    assert told["checkpoint"] == {
        "step": 30,
        "uri": "pvc://data/ckpt",
        "bytes": 5,
        "verified": True,
    }
    assert (told["workers"], told["worldSize"]) == (2, 2)
    late = ProgressReport.of(words | {"attempt": 9})
    plan = reconcile(watched(job, jobs=(running(job),), pods=pods, progress=late))
    assert "progress" not in plan.status["status"]


def test_a_refused_attempt_is_told_and_does_not_count():
    first = reconcile(watched(a_job())).apply[1]
    no = {ref_of(first): RefusedManifest(digest_of(first), "exceeded quota")}
    plan = reconcile(watched(a_job(), refused=no))
    assert started(plan) == []
    assert condition(plan, "Stalled") == ("True", "Refused")
    assert plan.status["status"]["attempt"] == 0


def test_jobs_of_long_gone_attempts_are_removed_and_volumes_never():
    jobs = tuple(an_attempt(n, failed=n < 6) for n in range(1, 7))
    plan = reconcile(watched(a_job(status={"attempt": 6}), jobs=jobs))
    assert [d.ref.name for d in plan.delete] == ["t-1", "t-2"]
    assert {d.ref.kind for d in plan.delete} == {"Job"}


def test_a_queue_name_reaches_the_attempt():
    job = reconcile(watched(a_job(queueName="team-a"))).apply[1]
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"


def test_claims_used_twice_are_one_volume():
    job = a_job(export={"uri": "pvc://models/gpt"})
    claims = {n: ClaimView(n, "Bound", SHARED) for n in ("data", "models")}
    pod = reconcile(watched(job, claims=claims)).apply[1]["spec"]["template"]["spec"]
    assert sum("persistentVolumeClaim" in v for v in pod["volumes"]) == 2
