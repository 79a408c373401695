"""Each way in which training fails, with real DeepSpeed: its class, its sentence, and how soon.

Holds: preamar_train/agent/hang.py, preamar_train/agent/memory.py, preamar_train/agent/stillness.py,
preamar_train/pace/phases.py
"""

import contextlib
import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.workloads.deepspeed.image.conftest import TINY, losses

MEMORY = Path("/sys/fs/cgroup/memory")


def test_a_rank_that_stands_still_in_another_pod_is_named_within_thirty_seconds(
    job, record_property
):
    pods = job.start(steps=100_000, checkpoint__everySteps=50)
    pods[0].wait_for("checkpoint of step 50 verified")
    (rank,) = pods[1].ranks()
    os.kill(rank, signal.SIGSTOP)
    begun = time.monotonic()
    code, message = pods[1].end(60)
    detected = time.monotonic() - begun
    assert (code, message["class"], message["rank"]) == (1, "Hung", 1)
    assert "it is stopped" in message["explanation"]
    assert message["failedStep"] > 50
    assert detected <= 30
    record_property("detected_seconds", round(detected, 1))
    code, message = pods[0].end(60)
    assert message["class"] == "PeerLost" or message["waits"] is True


def test_the_rank_that_waits_in_gloo_is_not_the_one_that_hangs(job):
    pods = job.start(pods=1, ranks=2, steps=100_000, env={"PREAMAR_HANG_SECONDS": "3"})
    pods[0].wait_for("step=20 ")
    second = pods[0].ranks()[1]
    os.kill(second, signal.SIGSTOP)
    code, message = pods[0].end(60)
    assert (code, message["class"], message["rank"]) == (1, "Hung", 1)
    assert "Waiting in an exchange: rank 0." in message["explanation"]
    assert "Current thread" in pods[0].text()


def test_a_step_that_fails_each_time_is_named_each_time(job):
    """What the operator needs to see a poison step; it decides in core/training/attempts/policy.py."""
    changes = {
        "pods": 1,
        "checkpoint__everySteps": 1,
        "model__parameters": {**TINY, "learningRate": 1e30, "warmupSteps": 0},
    }
    failed = [job.run(attempt=number, **changes)[1] for number in (1, 2)]
    assert [each["class"] for each in failed] == ["NonFiniteLoss"] * 2
    first, second = (each["failedStep"] for each in failed)
    assert first == second == failed[0]["step"] + 1
    kept = (job.folder / "checkpoint/run1").glob("step-*")
    assert max(int(f.name[5:]) for f in kept) == first - 1


@pytest.mark.skipif(
    not (MEMORY / "cgroup.procs").exists(), reason="the memory cgroup is not of version 1 here"
)
def test_a_rank_for_which_the_pod_has_too_little_memory_is_told_apart_from_a_kill(job):
    group = MEMORY / f"preamar-test-{os.getpid()}"
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text(str(150 * 2**20))
    with contextlib.suppress(OSError):
        (group / "memory.memsw.limit_in_bytes").write_text(str(150 * 2**20))
    job.limits = {"cgroup": group}
    try:
        code, message, _ = job.run(pods=1)
    finally:
        for pod in job.pods:
            pod.kill()
        time.sleep(0.5)
        group.rmdir()
    assert (code, message["class"]) == (1, "OutOfMemory")
    assert "Raise the memory limit" in message["explanation"]


def test_shared_memory_that_is_too_small_is_told(job):
    """On a CPU nothing of DeepSpeed's needs it while training; NCCL and data loaders do what this does."""
    text = (
        "import mmap; f = open('/dev/shm/x', 'wb+'); f.truncate(2**20); "
        "m = mmap.mmap(f.fileno(), 2**20); m[:] = bytes(2**20)"
    )
    job.limits = {"shm": "64k"}
    command = json.dumps(["python3", "-c", text])
    code, message, log = job.run(pods=1, env={"PREAMAR_RANK_COMMAND": command})
    assert (code, message["class"]) == (1, "SharedMemory"), log[-2000:]
    assert "/dev/shm is too small" in message["explanation"]


def test_a_job_whose_checkpoints_are_all_damaged_does_not_begin_anew_in_silence(job):
    code, _, log = job.run(pods=1, steps=2, checkpoint__everySteps=1)
    assert code == 0, log[-3000:]
    folders = sorted((job.folder / "checkpoint/run1").glob("step-*"))
    assert len(folders) == 2
    for folder in folders:
        victim = max(folder.glob("*model_states.pt"))
        os.truncate(victim, victim.stat().st_size // 2)
    code, message, log = job.run(pods=1, steps=4, attempt=2)
    assert (code, message["class"]) == (1, "CheckpointTorn")
    assert "No checkpoint in pvc://ckpt/run1 is whole" in message["explanation"]
    assert not losses(log)


def test_where_an_attempts_time_went_adds_up_and_auto_saves_by_what_a_save_costs(job):
    begun = time.monotonic()
    code, message, log = job.run(
        pods=1,
        steps=12,
        checkpoint__everySteps=None,
        checkpoint__everySeconds=None,
        checkpoint__meanSecondsBetweenFaults=60,
    )
    wall = time.monotonic() - begun
    assert code == 0, log[-3000:]
    spent = message["seconds"]
    total = sum(spent[use] for use in ("startup", "steps", "checkpoint", "other"))
    assert wall - 8 <= total <= wall
    assert spent["saved"] == pytest.approx(spent["steps"], abs=0.2)
    assert message["saveSeconds"] > 0
