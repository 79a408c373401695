"""Data that was prepared in the image by two pods trains as data that each pod packs itself.

Holds: preamar_train/corpus/run.py
"""

import hashlib
import json
import socket
from pathlib import Path

import pytest

from tests.workloads.deepspeed.image.conftest import TINY, Job, losses
from tests.workloads.deepspeed.image.pod import Pod

LICENCES = {"name": "licences", "path": "/mnt/data/licences", "weight": "1"}


def prepare(job: Job, pods: int, target: str, **changes) -> tuple[int, dict, str]:
    """A whole prepare Job: exit code, message and log of its first pod."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    order = {
        "data": {"sources": [LICENCES]},
        "model": {"preset": "gpt-tiny", "parameters": TINY},
        "filters": {},
        "target": f"/mnt/checkpoint/{target}",
        "uri": f"pvc://ckpt/{target}",
        "key": "k",
        **changes,
    }

    def start(index: int) -> Pod:
        return Pod(
            job.root,
            job.env,
            job.folder,
            {
                "JOB_COMPLETION_INDEX": str(index),
                "MASTER_ADDR": "127.0.0.1",
                "PREAMAR_PREPARE_PORT": str(port),
                "PREAMAR_PREPARE": json.dumps(order),
                "OMP_NUM_THREADS": "1",
                "RAYON_NUM_THREADS": "1",
            },
            "preamar-train prepare",
        )

    # The helpers look for the first pod until it is there.
    helpers = [start(index) for index in range(1, pods)]
    first = start(0)
    try:
        code, message = first.end(240)
    finally:
        for pod in (first, *helpers):
            pod.kill()
    return code, message, first.text()


def files(folder: Path) -> dict[str, str]:
    return {
        f.name: hashlib.sha256(f.read_bytes()).hexdigest()
        for f in folder.iterdir()
        if f.name != "report.json"
    }


def test_two_pods_prepare_what_one_would_and_ranks_train_on_it_as_on_the_text(job, unbroken):
    code, message, log = prepare(job, 2, "two")
    assert code == 0, log[-3000:]
    assert message["outcome"] == "Prepared"
    assert (
        message["kept"]
        == message["documents"]
        == len(list((job.folder / "data/licences").iterdir()))
    )
    code, alone, log = prepare(job, 1, "one")
    assert code == 0, log[-3000:]
    assert alone["digest"] == message["digest"]
    two, one = (
        job.folder / "checkpoint" / name / each["folder"]
        for name, each in (("two", message), ("one", alone))
    )
    assert files(two) == files(one)

    code, again, log = prepare(job, 1, "two")
    assert (code, again["reused"], again["uri"]) == (0, True, message["uri"])

    code, _, log = job.run(
        pods=1,
        ranks=2,
        data__prepared=f"/mnt/checkpoint/two/{message['folder']}",
        data__stage="/tmp/stage",
        data__sources=[LICENCES | {"path": "/mnt/nowhere"}],
    )
    assert code == 0, log[-3000:]
    assert "staged " in log
    _, _, expected = unbroken
    assert losses(log) == pytest.approx(losses(expected), rel=1e-6)
    assert job.samples() == unbroken[0].samples()


def test_a_users_error_ends_the_prepare_job_with_its_own_code(job):
    nowhere = [LICENCES | {"path": "/mnt/data/nowhere"}]
    code, message, _ = prepare(job, 1, "x", data={"sources": nowhere})
    assert (code, message["class"]) == (64, "DataError")
    assert "/mnt/data/nowhere does not exist" in message["explanation"]
    code, message, _ = prepare(job, 1, "x", filters={"minCharacters": 10**9})
    assert (code, message["class"]) == (64, "DataError")
    assert "Nothing of data source licences is left" in message["explanation"]


def test_a_pod_that_must_go_goes_at_once(job):
    """A helper that waits for the first pod."""
    pod = Pod(
        job.root,
        job.env,
        job.folder,
        {"JOB_COMPLETION_INDEX": "1", "MASTER_ADDR": "127.0.0.1", "PREAMAR_PREPARE_PORT": "1"},
        "preamar-train prepare",
    )
    try:
        pod.wait_for("distributed", limit=120)
        pod.stop()
        pod.process.wait(60)  # it would wait for the first pod for longer
    finally:
        pod.kill()
