"""Data is prepared once before the first attempt, mounted where ranks look, and waited for aloud.

Holds: core/training/data/prepare_job.py, core/training/data/preparing.py,
core/training/data/starved.py, core/volumes.py
"""

from json import dumps, loads

import pytest

from preamar.core.objects import Child
from preamar.core.plan import Ref
from preamar.core.pods import ContainerView, Ended, PodView
from preamar.core.settings import Settings
from preamar.core.training.data.preparing import KEY, key_of
from preamar.core.training.observe import JobView
from preamar.core.training.progress import ProgressReport
from preamar.core.training.reconcile import reconcile
from tests.core.builders import (
    a_job,
    a_rank,
    an_attempt,
    condition,
    later,
    merged,
    sentence,
    watched,
)


def told(ratio, attempt=1):
    job = a_job()
    words = {"attempt": attempt, "state": "Training", "step": 4, "dataWaitRatio": ratio}
    pods = (a_rank(0), a_rank(1))
    return reconcile(
        watched(job, jobs=(an_attempt(),), pods=pods, progress=ProgressReport.of(words))
    )


@pytest.mark.parametrize(
    ("ratio", "shown", "words"),
    [
        ("0.000", "0.0000", ""),
        ("0.199", "0.1990", ""),
        ("0.200", "0.2000", "waits for data about 20 % of the time"),
        ("0.87", "0.8700", "waits for data about 90 % of the time"),
        ("7", "1.0000", "waits for data about 100 % of the time"),
        ("-1", "0.0000", ""),
    ],
)
def test_time_spent_waiting_for_data_is_told_and_named_where_it_is_much(ratio, shown, words):
    plan = told(ratio)
    assert plan.status["status"]["progress"]["dataWaitRatio"] == shown
    assert condition(plan, "Running") == ("True", "Training")
    found = sentence(plan, "Running")
    assert words in found
    assert ("waits for data" in found) == bool(words)


@pytest.mark.parametrize("ratio", [None, "nan", "much", [0.5], True])
def test_a_wait_that_is_not_known_is_not_told(ratio):
    plan = told(ratio)
    assert "dataWaitRatio" not in plan.status["status"]["progress"]
    assert "waits for data" not in sentence(plan, "Running")


def test_what_an_earlier_attempt_waited_is_not_told_of_this_one():
    assert "waits for data" not in sentence(told("0.9", attempt=7), "Running")


def asks(data=None, **more):
    """A job whose data is to be prepared by two pods."""
    prepare = {"target": "pvc://corpora/gpt", "workers": 2, "deduplicate": "MinHash"}
    return a_job(data=merged({"prepare": prepare}, data or {}), **more)


def the_job(job, **more):
    parts = {"workers": 2, "started": later(-60), "annotations": {KEY: key_of(job)}, **more}
    return JobView("t-prepare", "uid-t-prepare", "9", 0, **parts)


def a_pod(job, index=0, code=None, words=None):
    ended = (
        Ended(code, "", dumps(words) if words else "", finished=later(-5))
        if code is not None
        else None
    )
    labels = {KEY: key_of(job), "batch.kubernetes.io/job-completion-index": str(index)}
    phase = "Running" if code is None else "Failed" if code else "Succeeded"
    container = ContainerView("prepare", image="trainer:1", ended=ended)
    return PodView(f"p{index}", f"p{index}", containers=(container,), phase=phase, labels=labels,
                   created=later(-60))  # fmt: skip


def seen(job, view=None, pods=(), **more):
    child = (
        {}
        if view is None
        else {Ref("batch/v1", "Job", "demo", view.name): Child(view.uid, view.version, "uid-t")}
    )
    return reconcile(watched(job, preparing=view, pods=pods, children=child, **more))


MADE = {"outcome": "Prepared", "uri": "pvc://corpora/gpt/k-1", "digest": "sha256:aa",
        "documents": 9, "kept": 7, "tokens": 500}  # fmt: skip


def made(plan, kind="Job"):
    return [m for m in plan.apply if m["kind"] == kind]


def test_the_prepare_job_comes_before_the_first_attempt():
    job = asks()
    plan = seen(job)
    (wanted,) = made(plan)
    assert wanted["metadata"]["name"] == "t-prepare"
    assert condition(plan, "Running") == ("False", "Preparing")
    assert condition(plan, "Stalled")[0] == "False"
    spec = wanted["spec"]
    assert (spec["completions"], spec["parallelism"], spec["backoffLimit"]) == (2, 2, 6)
    assert spec["successPolicy"] == {"rules": [{"succeededIndexes": "0"}]}
    (container,) = spec["template"]["spec"]["containers"]
    env = {v["name"]: v["value"] for v in container["env"]}
    order = loads(env["PREAMAR_PREPARE"])
    assert order["target"] == "/mnt/target/gpt"
    assert order["deduplicate"] == "MinHash"
    assert order["data"]["sources"] == [
        {"name": "books", "path": "/mnt/data/books/books", "weight": "1"}
    ]
    assert env["MASTER_ADDR"] == "t-prepare-0.t-ranks"
    where = {m["mountPath"]: m.get("readOnly", False) for m in container["volumeMounts"]}
    assert where == {"/mnt/data/books": True, "/mnt/target": False, "/tmp": False}
    assert not seen(job, the_job(job)).apply or not made(seen(job, the_job(job)))


def test_while_it_runs_nothing_is_made_and_its_pods_are_told():
    job = asks()
    plan = seen(job, the_job(job), (a_pod(job, 0), a_pod(job, 1)))
    assert not made(plan)
    assert not plan.delete
    assert (
        sentence(plan, "Running") == "The data is being prepared: 2 of 2 pods run (Job t-prepare)."
    )


def test_how_far_it_is_is_told_when_the_first_pod_says_so():
    job = asks()
    plan = seen(job, the_job(job), (a_pod(job, 0),), prepare_state="tokenising 30 %")
    assert sentence(plan, "Running").endswith("Now: tokenising 30 %.")


def test_what_it_made_is_told_first_and_then_trained_on():
    job = asks()
    plan = seen(job, the_job(job, complete=True), (a_pod(job, 0, 0, MADE),))
    assert not made(plan)
    data = plan.status["status"]["data"]
    assert data == {"key": key_of(job), "uri": MADE["uri"], "digest": "sha256:aa",
                    "documents": 9, "kept": 7, "tokens": 500}  # fmt: skip
    told = asks(status={"data": data})
    plan = seen(told, the_job(told, complete=True))
    (attempt,) = made(plan)
    assert attempt["metadata"]["name"] == "t-1"
    (container,) = attempt["spec"]["template"]["spec"]["containers"]
    order = loads(next(v["value"] for v in container["env"] if v["name"] == "PREAMAR_TRAIN"))
    assert order["data"]["prepared"] == "/mnt/prepared/gpt/k-1"
    where = [m["mountPath"] for m in container["volumeMounts"]]
    assert "/mnt/prepared" in where
    assert "/mnt/data/books" not in where


def test_a_job_whose_last_words_are_lost_is_asked_again():
    job = asks()
    plan = seen(job, the_job(job, complete=True))
    assert [d.uid for d in plan.delete] == ["uid-t-prepare"]
    assert not made(plan)


@pytest.mark.parametrize(
    "change",
    [
        {"data": {"prepare": {"deduplicate": "Exact"}}},
        {"data": {"sources": [{"name": "books", "uri": "pvc://data/other"}]}},
        {"model": {"parameters": {"vocabulary": 900}}},
    ],
)
def test_another_corpus_is_prepared_anew(change):
    old = asks()
    data = {"key": key_of(old), "uri": "pvc://corpora/gpt/k-1"}
    job = asks(status={"data": data}, **change)
    assert key_of(old) != key_of(job)
    plan = seen(job, the_job(old, complete=True), (a_pod(old, 0, 0, MADE),))
    assert [d.ref.name for d in plan.delete] == ["t-prepare"]
    assert not made(plan)
    assert [m["metadata"]["name"] for m in made(seen(job))] == ["t-prepare"]


def test_more_workers_or_another_weight_prepare_nothing_anew():
    job = asks(data={"prepare": {"workers": 9, "resources": {"limits": {"cpu": "2"}}}})
    weights = asks(data={"sources": [{"name": "books", "uri": "pvc://data/books", "weight": "3"}]})
    assert key_of(job) == key_of(asks()) == key_of(weights)


def test_a_users_error_stalls_the_job_until_an_edit():
    job = asks()
    words = {"outcome": "Failed", "class": "DataError", "explanation": "There is no text."}
    failed = the_job(job, failed=True, reason="PodFailurePolicy", ended_at=later(-1))
    plan = seen(job, failed, (a_pod(job, 0, 64, words),))
    assert condition(plan, "Stalled") == ("True", "DataError")
    assert "There is no text. Edit spec.data, or delete the Job t-prepare" in sentence(
        plan, "Stalled"
    )
    assert condition(plan, "Succeeded")[0] == "Unknown"
    assert (made(plan), plan.delete) == ([], ())
    edited = asks(data={"prepare": {"filters": {"minCharacters": 1}}})
    plan = seen(edited, failed, (a_pod(job, 0, 64, words),))
    assert [d.ref.name for d in plan.delete] == ["t-prepare"]
    assert condition(plan, "Stalled")[0] == "False"


def test_faults_of_the_world_that_used_up_all_tries_are_told():
    job = asks()
    failed = the_job(job, failed=True, message="Job has reached the specified backoff limit")
    plan = seen(job, failed)
    assert condition(plan, "Stalled") == ("True", "PrepareFailed")
    assert "backoff limit" in sentence(plan, "Stalled")


def test_a_suspended_job_prepares_nothing_and_goes_on_later():
    job = asks(suspend=True)
    plan = seen(job, the_job(job), (a_pod(job),))
    assert [d.ref.name for d in plan.delete] == ["t-prepare"]
    assert condition(plan, "Suspended") == ("True", "Suspended")
    assert made(seen(job)) == []


def test_a_job_without_the_wish_drops_the_prepare_job():
    job = a_job()
    plan = seen(job, the_job(job))
    assert [d.ref.name for d in plan.delete] == ["t-prepare"]


def test_words_of_a_pod_that_are_none_are_survived():
    job = asks()
    for words in ("[1]", "{", "7", dumps(MADE | {"uri": 5}), dumps({"outcome": "Prepared"})):
        pod = a_pod(job, 0, 0)
        ended = Ended(0, "", words, finished=later(-5))
        pod = PodView("p", "p", containers=(ContainerView("prepare", image="x", ended=ended),),
                      phase="Succeeded", labels=pod.labels, created=later(-60))  # fmt: skip
        plan = seen(job, the_job(job, complete=True), (pod,))
        assert [d.ref.name for d in plan.delete] == ["t-prepare"]
    odd = MADE | {"documents": -1, "tokens": "many", "kept": True}
    plan = seen(job, the_job(job, complete=True), (a_pod(job, 0, 0, odd),))
    found = plan.status["status"]["data"]
    assert (found["documents"], found["tokens"], found["kept"]) == (0, 0, 0)


def test_credentials_of_an_object_store_are_mounted_and_told_by_their_path():
    source = {"name": "web", "uri": "s3://bucket/text", "secretName": "reader"}
    job = a_job(data={"sources": [source]})
    (attempt,) = made(reconcile(watched(job)))
    pod = attempt["spec"]["template"]["spec"]
    secret = next(v for v in pod["volumes"] if "secret" in v)
    assert secret["secret"] == {"secretName": "reader", "defaultMode": 0o440}
    mount = next(m for m in pod["containers"][0]["volumeMounts"] if m["name"] == secret["name"])
    assert mount == {"name": secret["name"], "mountPath": "/mnt/secrets/web", "readOnly": True}
    env = {v["name"]: v["value"] for v in pod["containers"][0]["env"]}
    assert loads(env["PREAMAR_TRAIN"])["data"]["sources"] == [
        {"name": "web", "weight": "1", "uri": "s3://bucket/text", "credentials": "/mnt/secrets/web"}
    ]


def test_a_volume_of_the_node_comes_and_goes_with_each_pod():
    job = a_job(data={"stage": "NodeLocal", "stageSize": "7Gi"})
    for storage_class in ("", "local-nvme"):
        settings = Settings(node_local_storage_class=storage_class)
        (attempt,) = made(reconcile(watched(job, settings=settings)))
        pod = attempt["spec"]["template"]["spec"]
        volume = next(v for v in pod["volumes"] if v["name"] == "stage")
        spec = volume["ephemeral"]["volumeClaimTemplate"]["spec"]
        assert spec["resources"] == {"requests": {"storage": "7Gi"}}
        assert spec.get("storageClassName", "") == storage_class
        env = {v["name"]: v["value"] for v in pod["containers"][0]["env"]}
        assert loads(env["PREAMAR_TRAIN"])["data"]["stage"] == "/mnt/stage"


def test_the_target_must_be_a_volume_that_can_be_written_and_shared():
    from preamar.core.objects import ClaimView

    claims = {"data": ClaimView("data", "Bound", ("ReadWriteMany",))}
    plan = seen(asks(), claims=claims)
    assert condition(plan, "Stalled") == ("True", "VolumeMissing")
    claims["corpora"] = ClaimView("corpora", "Bound", ("ReadOnlyMany",))
    assert condition(seen(asks(), claims=claims), "Stalled") == ("True", "VolumeReadOnly")
    claims["corpora"] = ClaimView("corpora", "Bound", ("ReadWriteOnce",))
    one = asks(workers={"replicas": 1})
    assert condition(seen(one, claims=claims), "Stalled") == ("True", "VolumeNotShared")
