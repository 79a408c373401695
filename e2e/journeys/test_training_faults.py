"""Training that cannot go on says why in one sentence, and burns no more accelerators."""

import os
import signal
from pathlib import Path

import pytest

from e2e.journeys.watching import job, moving, pods, stalled, succeeded
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

    until(
        "a checkpoint is written",
        240,
        past_a_checkpoint,
        every=1.0,
        progress=moving(kube, namespace),
    )
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


def test_a_node_that_is_lost_is_not_waited_for(kube: Kube, namespace: str) -> None:
    kube.apply(a_job("lost", steps=60, workers={"replicas": 1}), namespace)

    def past_a_checkpoint() -> Json | None:
        status = (job(kube, namespace, "lost") or {}).get("status") or {}
        return status if (status.get("checkpoint") or {}).get("step", 0) >= 10 else None

    until(
        "a checkpoint is written",
        240,
        past_a_checkpoint,
        every=0.3,
        progress=moving(kube, namespace),
    )
    (pod,) = pods(kube, namespace, "trainingjob", "lost")
    frozen = [*processes(pod), kubelet_of(pod["spec"]["nodeName"])]
    for process in frozen:
        os.kill(process, signal.SIGSTOP)
    try:
        # The taint manager does this after five minutes, and gives it five more to save.
        kube.delete("v1", "Pod", pod["metadata"]["name"], namespace, grace=5)
        until(
            "the next attempt starts",
            240,
            lambda: _attempt(kube, namespace, "lost") == 2,
            progress=moving(kube, namespace),
        )
        there = {p["metadata"]["uid"] for p in pods(kube, namespace, "trainingjob", "lost")}
        assert pod["metadata"]["uid"] in there
    finally:
        for process in reversed(frozen):
            os.kill(process, signal.SIGCONT)
    status = succeeded(kube, namespace, "lost")["status"]
    samples = status["samples"]
    assert (samples["consumed"], samples["skipped"], samples["duplicated"]) == (60 * 16, 0, 0)
    # Nobody's failure, and yet a fault by which the job judges how often it must save.
    assert (status["restarts"], status["goodput"]["faults"]) == (0, 1)
    until(
        "the gateway is back",
        120,
        lambda: kube_ready(kube, "preamar-gateway"),
        progress=moving(kube, namespace),
    )


def _attempt(kube: Kube, namespace: str, name: str) -> int:
    return int((job(kube, namespace, name) or {})["status"]["attempt"])


def kube_ready(kube: Kube, deployment: str) -> bool:
    found = kube.get("apps/v1", "Deployment", deployment, "preamar-system") or {}
    return bool((found.get("status") or {}).get("readyReplicas"))


HIDDEN = "the node's processes are not this machine's: only the host cluster shows them"


def processes(pod: Json) -> list[int]:
    """What runs in a pod, as this machine sees it: each cgroup names its pod."""
    found = [each for each in numbers() if pod["metadata"]["uid"] in read(each, "cgroup")]
    return found or pytest.skip(HIDDEN)


def kubelet_of(node: str) -> int:
    """The kubelet of a node."""
    for each in numbers():
        words = read(each, "cmdline").split("\0")
        if words[1:2] == ["kubelet"] and f"--hostname-override={node}" in words:
            return each
    pytest.skip(HIDDEN)


def a_rank_process(found: list[Json]) -> int:
    """The process of rank 1."""
    pod = next(
        p
        for p in found
        if p["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] == "1"
    )
    for each in processes(pod):
        if read(each, "cmdline").split("\0")[-2:-1] == ["rank"]:
            return each
    pytest.fail("no rank runs in its pod")


def numbers() -> list[int]:
    return [int(each.name) for each in Path("/proc").glob("[0-9]*")]


def read(process: int, file: str) -> str:
    """A file of /proc; empty where the process has just ended."""
    try:
        return Path(f"/proc/{process}/{file}").read_text()
    except OSError:
        return ""
