"""What the real Triton says of its load, and what the operator reads in it: callers who bypass the
gateway are seen."""

import asyncio
import contextlib
import socket
import threading
import time
import urllib.request

import pytest
from test_infer import tensor
from test_serving import python_model

from preamar.demand import witness
from preamar.demand.triton import in_flight, read
from preamar.demand.witness import Witness

WAITS = """
import time
import triton_python_backend_utils as utils
class TritonPythonModel:
    def execute(self, requests):
        time.sleep(0.3)
        return [utils.InferenceResponse([utils.Tensor("y", utils.get_input_tensor_by_name(r, "x").as_numpy())]) for r in requests]
"""
CALLERS = 12


def text(running) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{running.metrics}/metrics", timeout=5) as answer:
        return answer.read().decode()


@contextlib.contextmanager
def callers(running, count: int):
    """So many callers at once, each with one request."""
    answers = []
    ask = lambda: answers.append(running.infer("m", tensor("x", "INT32", [1], [1]))[0])  # noqa: E731
    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join(60)
    assert answers == [200] * count


@pytest.fixture
def slow(tmp_path, alone):
    running = alone(python_model(tmp_path, WAITS))
    running.wait(["m"])
    deadline = time.monotonic() + 30  # Triton opens its port for metrics after the other two
    while not listens(running.metrics):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return running


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_requests_that_wait_are_told_and_those_that_execute_only_when_they_are_done(slow):
    idle = read(text(slow))["m"]
    assert (idle.waiting, idle.answered, idle.executed_seconds) == (0, 0, 0)
    with callers(slow, CALLERS):
        time.sleep(0.2)
        before, at = read(text(slow)), time.monotonic()
        assert before["m"].waiting == CALLERS - 1
        time.sleep(1.3)
        now, passed = read(text(slow)), time.monotonic() - at
    assert 0 < now["m"].waiting < CALLERS - 1
    assert now["m"].answered >= 2
    assert in_flight(now, before, passed) == now["m"].waiting + 1
    deadline = time.monotonic() + 5  # it counts just after the answer has left
    while (after := read(text(slow)))["m"].answered < CALLERS and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (after["m"].waiting, after["m"].answered) == (0, CALLERS)
    assert after["m"].executed_seconds == pytest.approx(0.3 * CALLERS, rel=0.3)
    assert in_flight(after, after, 5.0) == 0


async def test_the_operator_sees_callers_who_bypass_the_gateway(slow, monkeypatch):
    monkeypatch.setattr(witness, "EVERY_SECONDS", 0.2)
    heard: list[int | None] = []
    watcher = Witness(lambda name: heard.append(watcher.seen(name)), slow.metrics)
    watcher.follow("demo/m", ["127.0.0.1"])
    asking = asyncio.create_task(watcher.run())

    def call() -> None:
        with callers(slow, CALLERS):
            time.sleep(0.5)

    await asyncio.to_thread(call)
    async with asyncio.timeout(10):
        while heard[-1] != 0:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    asking.cancel()
    assert CALLERS - 2 <= max(seen for seen in heard if seen is not None) <= CALLERS
