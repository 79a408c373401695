"""What the real Triton says of its load, and what the operator reads in it: callers who bypass the
gateway are seen.

Holds: demand/triton.py, demand/witness.py
"""

import asyncio
import contextlib
import threading
import time
import urllib.request

import pytest

from preamar.demand import witness
from preamar.demand.triton import in_flight, read
from preamar.demand.witness import Witness
from tests.workloads.triton.backends.test_infer import tensor
from tests.workloads.triton.serve.test_serving import python_model
from tests.workloads.triton.test_counted import listening

WAITS = """
import time
from pathlib import Path
import triton_python_backend_utils as utils
class TritonPythonModel:
    def initialize(self, args):
        self.hold = Path(args["model_repository"], "hold")
    def execute(self, requests):
        while self.hold.exists():
            time.sleep(0.01)
        time.sleep(0.1)
        return [utils.InferenceResponse([utils.Tensor("y", utils.get_input_tensor_by_name(r, "x").as_numpy())]) for r in requests]
"""
CALLERS = 12


def text(running) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{running.metrics}/metrics", timeout=5) as answer:
        return answer.read().decode()


@contextlib.contextmanager
def callers(running, count: int, name: str):
    """So many callers at once, each with one request."""
    answers = []
    ask = lambda: answers.append(running.infer(name, tensor("x", "INT32", [1], [1]))[0])  # noqa: E731
    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join(60)
    assert answers == [200] * count


@pytest.fixture(params=["waits"])
def slow(request, tmp_path, served):
    """A model of its own name takes a while for each of its requests, and answers none while it is
    told to hold."""
    served.invite(python_model(tmp_path, WAITS, request.param), request.param)
    listening(served)
    return served


def until(what) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_requests_that_wait_are_told_and_those_that_execute_only_when_they_are_done(slow):
    def mine() -> dict:
        return {"waits": read(text(slow))["waits"]}

    idle, began = mine()["waits"], time.monotonic()
    assert (idle.waiting, idle.answered, idle.executed_seconds) == (0, 0, 0)
    hold = slow.models / "waits/hold"
    hold.touch()
    with callers(slow, CALLERS, "waits"):
        until(lambda: mine()["waits"].waiting == CALLERS - 1)
        hold.unlink()
        until(lambda: mine()["waits"].answered)
        before, at = mine(), time.monotonic()
        until(lambda: mine()["waits"].answered >= before["waits"].answered + 3)
        now, passed = mine(), time.monotonic() - at
        assert 0 < now["waits"].waiting < CALLERS - 1
        assert in_flight(now, before, passed) == now["waits"].waiting + 1
    until(lambda: mine()["waits"].answered == CALLERS)  # counted just after the answer has left
    after, passed = mine(), time.monotonic() - began
    assert after["waits"].waiting == 0
    assert 0.1 * CALLERS <= after["waits"].executed_seconds <= passed
    assert in_flight(after, after, 5.0) == 0


@pytest.mark.parametrize("slow", ["bypassed"], indirect=True)
async def test_the_operator_sees_callers_who_bypass_the_gateway(slow, monkeypatch):
    monkeypatch.setattr(witness, "EVERY_SECONDS", 0.1)
    heard: list[int | None] = []
    watcher = Witness(lambda name: heard.append(watcher.seen(name)), slow.metrics)
    watcher.follow("demo/bypassed", ["127.0.0.1"])
    asking = asyncio.create_task(watcher.run())

    hold = slow.models / "bypassed/hold"
    hold.touch()

    def call() -> None:
        with callers(slow, CALLERS, "bypassed"):
            until(lambda: max((seen for seen in heard if seen), default=0) >= CALLERS - 2)
            hold.unlink()

    await asyncio.to_thread(call)
    async with asyncio.timeout(60):
        while not heard or heard[-1] != 0:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    asking.cancel()
    assert CALLERS - 2 <= max(seen for seen in heard if seen is not None) <= CALLERS
