"""A language model that vLLM spans over two pods: both are told the same, compute together, and end together.
vLLM needs GPUs; a stand-in with its names, and with its command, answers in the real Triton.

Holds: preamar_model/group/headless.py, preamar_model/group/health.py
"""

import json
import os
import signal
from pathlib import Path

import pytest
from groups import Grouped, until
from preamar_model.group import headless
from running import PACKAGES, environment, free_ports
from running import build_here as build

from tests.workloads.triton.backends.test_language import STAND_IN, order, weights
from tests.workloads.triton.group.test_group import health

SPLIT = {"parallelism": {"tensor": 2, "pipeline": 2}}


@pytest.fixture
def group(tmp_path):
    made = Grouped(order(weights(tmp_path / "weights"), **SPLIT), tmp_path)
    path = f"{PACKAGES}:{STAND_IN}"
    more = {"PREAMAR_MASTER_PORT": str(free_ports(1)[0]), "PYTHONPATH": path}
    made.leads |= more
    made.works |= more
    yield made
    made.stop()


def test_both_pods_take_part_in_each_token_and_were_told_the_same(group):
    group.work()
    running = group.lead()
    running.wait(["llm"])
    events = list(running.stream("llm", prompt="a b c", max_tokens=5, temperature=0))
    assert "".join(event["TEXT"] for event in events) == " a b c a b"
    until(lambda: health(group.leader_health) == 200)


@pytest.mark.slow
def test_when_the_workers_engine_ends_the_whole_copy_begins_anew(group):
    worker, running = group.work(), group.lead()
    until(lambda: health(group.leader_health) == 200)
    engine = children(worker.pid)
    assert len(engine) == 1
    os.kill(engine[0], signal.SIGKILL)
    assert worker.wait(10) == 75
    assert "worker.py ended" in group.ended.read_text()
    assert running.process.wait(10) == 75


@pytest.mark.slow
def test_when_the_leader_ends_the_workers_engine_does_too(group):
    worker, running = group.work(), group.lead()
    until(lambda: health(group.leader_health) == 200)
    engine = children(worker.pid)[0]
    assert b"vllm.entrypoints.cli.main" in Path("/proc", str(engine), "cmdline").read_bytes()
    running.process.kill()
    assert worker.wait(10) == 75
    assert not Path("/proc", str(engine)).exists()


def test_what_the_workers_are_told_is_what_the_leader_is(tmp_path):
    source = weights(tmp_path / "w")
    assert build(order(source, stages=2, **SPLIT), tmp_path / "plain").code == 0
    plain = json.loads((tmp_path / "plain/llm/1/model.json").read_text())
    assert plain["max_num_batched_tokens"] == 8192
    (source / "vllm.json").write_text('{"enforce_eager": true, "max_num_batched_tokens": 512}')
    done = build(order(source, stages=2, **SPLIT), tmp_path / "r")
    assert done.code == 0, done.log
    told = json.loads((tmp_path / "r/llm/1/model.json").read_text())
    assert (told["nnodes"], told["distributed_executor_backend"]) == (2, "mp")
    assert told["max_num_batched_tokens"] == 512
    where = {"NODE_RANK": "1", "MASTER_ADDR": "10.0.0.7", "MASTER_PORT": "29500"}
    found = headless.flags(told, environment(**where))
    assert found[:3] == ["serve", str(tmp_path / "r/llm/1/weights"), "--headless"]
    for words in ("--nnodes 2", "--node-rank 1", "--master-addr 10.0.0.7", "--master-port 29500"):
        assert words in " ".join(found)
    assert "--enforce-eager" in found
    assert "--no-trust-remote-code" in found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"stages": 3}, "no multiple of 3 pods"),
        ({"format": "TensorRTLLM", "stages": 2}, "spans pods by vLLM"),
    ],
)
def test_what_cannot_span_pods_is_refused(tmp_path, change, said):
    done = build(order(weights(tmp_path / "w"), **SPLIT, **change), tmp_path / "r")
    assert (done.code, said in done.told["message"]) == (64, True)


def children(parent: int) -> list[int]:
    """Whichever of its threads started them."""
    found = Path("/proc", str(parent), "task").glob("*/children")
    return [int(word) for file in found for word in file.read_text().split()]
