"""Training that cannot go on says why in one sentence, and burns no more accelerators."""

import os
import signal
from pathlib import Path

import pytest

from e2e.journeys.watching import job, pods, stalled
from e2e.journeys.wishes import a_job
from e2e.kube import OURS, Json, Kube, until


def _row(kube: Kube, namespace: str, name: str) -> Json:
    return kube.row(OURS, "TrainingJob", name, namespace)


def _none_run(kube: Kube, namespace: str, name: str) -> bool:
    found = pods(kube, namespace, "trainingjob", name)
    return not [p for p in found if p["status"]["phase"] in ("Pending", "Running")]


def test_a_step_whose_loss_is_no_number_is_tried_twice_and_named(
    kube: Kube, namespace: str
) -> None:
    wish = a_job(
        "poison",
        workers={"replicas": 1},
        model={"parameters": {"learningRate": 1_000_000_000, "warmupSteps": 0}},
    )
    kube.apply(wish, namespace)
    why = stalled(kube, namespace, "TrainingJob", "poison", 240)
    assert why["reason"] == "PoisonStep"
    status = (job(kube, namespace, "poison") or {})["status"]
    assert status["attempt"] == 2
    failure = status["failure"]
    assert (failure["class"], failure["times"]) == ("NonFiniteLoss", 2)
    assert f"Step {failure['step']} failed 2 times in a row" in why["message"]
    row = _row(kube, namespace, "poison")
    assert (row["Succeeded"], row["Reason"]) == ("False", "PoisonStep")
    assert _none_run(kube, namespace, "poison")


def test_too_little_memory_is_tried_twice_and_says_what_to_raise(
    kube: Kube, namespace: str
) -> None:
    wish = a_job("small", workers={"replicas": 1, "resources": {"limits": {"memory": "120Mi"}}})
    kube.apply(wish, namespace)
    why = stalled(kube, namespace, "TrainingJob", "small", 240)
    assert why["reason"] == "OutOfMemory"
    assert "memory" in why["message"]
    row = _row(kube, namespace, "small")
    assert (row["Succeeded"], row["Reason"]) == ("False", "OutOfMemory")
    assert _none_run(kube, namespace, "small")


def test_a_rank_that_hangs_is_found_and_the_gang_goes_on_from_its_checkpoint(
    kube: Kube, namespace: str
) -> None:
    kube.apply(a_job("hung", steps=400), namespace)

    def past_a_checkpoint() -> Json | None:
        status = (job(kube, namespace, "hung") or {}).get("status") or {}
        return status if (status.get("checkpoint") or {}).get("step", 0) >= 10 else None

    until("a checkpoint is written", 240, past_a_checkpoint, every=1.0)
    victim = a_rank_process(pods(kube, namespace, "trainingjob", "hung"))
    os.kill(victim, signal.SIGSTOP)

    def told() -> Json | None:
        failure = ((job(kube, namespace, "hung") or {}).get("status") or {}).get("failure")
        return failure if failure and failure["class"] == "Hung" else None

    failure = until("the hang is told", 60, told, every=0.5)
    assert failure["rank"] == 1
    assert "is stopped" in failure["explanation"]

    def next_attempt() -> bool:
        status = (job(kube, namespace, "hung") or {})["status"]
        return status["attempt"] == 2

    until("the next attempt starts", 60, next_attempt)
    told_after = (job(kube, namespace, "hung") or {})["status"]["goodput"]
    assert told_after["faults"] == 1


def a_rank_process(found: list[Json]) -> int:
    """The process of rank 1, as this machine sees it: its cgroup names the pod."""
    uid = next(
        p["metadata"]["uid"]
        for p in found
        if p["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] == "1"
    )
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            inside = uid in (folder / "cgroup").read_text()
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if inside and words[-2:-1] == [b"rank"]:
            return int(folder.name)
    pytest.skip("the node's processes are not this machine's: only the host cluster shows them")
