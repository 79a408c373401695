"""The queue in fake time: who gets a pass, and when.

Holds: shell/workqueue.py
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from preamar.shell.workqueue import Verdict, WorkQueue

pytestmark = pytest.mark.looptime


@asynccontextmanager
async def a_queue(work: Callable[[str], Awaitable[Verdict]], **settings):
    queue: WorkQueue[str] = WorkQueue(work, chance=random.Random(1), **settings)
    running = asyncio.create_task(queue.run())
    try:
        yield queue
    finally:
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


class Passes:
    """Remembers when passes began, and does what it is told."""

    def __init__(self, *, seconds: float = 0.0, verdict: Verdict | None = None, fails: int = 0):
        self.at: list[float] = []
        self.seconds, self.fails = seconds, fails
        self.verdict = verdict or Verdict()
        self.running, self.most = 0, 0
        self._zero = asyncio.get_running_loop().time()

    async def __call__(self, key: str) -> Verdict:
        self.at.append(round(asyncio.get_running_loop().time() - self._zero, 3))
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(self.seconds)
        self.running -= 1
        if len(self.at) <= self.fails:
            raise OSError("no")
        return self.verdict


async def test_a_burst_while_a_pass_runs_costs_one_more_pass() -> None:
    work = Passes(seconds=5)
    async with a_queue(work) as queue:
        queue.add("a")
        await asyncio.sleep(1)
        for _ in range(100):
            queue.add("a")
        await asyncio.sleep(20)
    assert work.at == [0, 5]


async def test_a_burst_before_a_pass_is_one_pass() -> None:
    work = Passes()
    async with a_queue(work) as queue:
        for _ in range(100):
            queue.add("a")
        await asyncio.sleep(1)
    assert work.at == [0]


async def test_events_close_together_share_a_pass_but_urgent_ones_do_not_wait() -> None:
    work = Passes()
    async with a_queue(work) as queue:
        queue.add("a")
        await asyncio.sleep(0.01)
        queue.add("a")
        await asyncio.sleep(0.1)
        queue.add("a")
        await asyncio.sleep(0.01)
        queue.add("a", urgent=True)
        await asyncio.sleep(1)
    assert work.at == [0, 0.05, 0.11, 0.12]


async def test_a_key_never_has_two_passes_at_once_and_workers_are_bounded() -> None:
    work = Passes(seconds=1)
    async with a_queue(work, workers=3) as queue:
        for key in "abcdefgh":
            queue.add(key)
            queue.add(key)
        await asyncio.sleep(0.5)
        assert queue.depth == 5
        assert queue.oldest_seconds() == pytest.approx(0.5)
        await asyncio.sleep(10)
    assert work.most == 3
    assert len(work.at) == 8


async def test_one_key_is_worked_on_by_one_worker_at_a_time() -> None:
    work = Passes(seconds=1)
    async with a_queue(work, workers=8) as queue:
        for _ in range(8):
            queue.add("a")
            await asyncio.sleep(0.2)
        await asyncio.sleep(10)
    assert work.most == 1


async def test_a_recheck_comes_when_asked_and_sooner_when_something_happens() -> None:
    work = Passes(verdict=Verdict(recheck_in=10))
    async with a_queue(work) as queue:
        queue.add("a")
        await asyncio.sleep(12)
        queue.add("a")
        await asyncio.sleep(11)
    assert work.at == [0, 10, 12, 22]


async def test_failures_wait_longer_each_time_with_jitter_and_a_cap() -> None:
    work = Passes(fails=14)
    async with a_queue(work) as queue:
        queue.add("a")
        await asyncio.sleep(600)
    waits = [b - a for a, b in zip(work.at, work.at[1:], strict=False)]
    for n, wait in enumerate(waits[:14]):
        longest = min(60, 0.1 * 2**n)
        assert longest * 0.49 <= wait <= longest * 1.01, (n, wait)
    assert len({round(wait, 3) for wait in waits[10:14]}) == 4


async def test_a_failing_key_that_is_added_all_the_time_does_not_spin() -> None:
    work = Passes(fails=10**6)
    async with a_queue(work) as queue:
        for _ in range(1000):
            queue.add("a", urgent=True)
            await asyncio.sleep(0.01)
    # About five quick tries first, then one a second although a hundred adds a second come.
    assert len(work.at) <= 15


async def test_the_api_servers_retry_after_is_the_least_wait() -> None:
    class Busy(Exception):
        retry_after = 7.0

    at: list[float] = []

    async def work(_key: str) -> Verdict:
        at.append(asyncio.get_running_loop().time())
        if len(at) == 1:
            raise Busy
        return Verdict()

    async with a_queue(work) as queue:
        queue.add("a")
        await asyncio.sleep(20)
    assert at[1] - at[0] >= 7


async def test_every_key_comes_back_by_itself() -> None:
    work = Passes()
    async with a_queue(work) as queue:
        queue.add("a")
        await asyncio.sleep(3600)
    waits = [b - a for a, b in zip(work.at, work.at[1:], strict=False)]
    assert waits
    assert all(240 <= wait <= 360 for wait in waits)


async def test_a_forgotten_key_does_not_come_back_but_may_be_added_again() -> None:
    work = Passes(verdict=Verdict(forget=True))
    async with a_queue(work) as queue:
        queue.add("a")
        await asyncio.sleep(1000)
        assert work.at == [0]
        assert not queue.known()
        queue.add("a")
        await asyncio.sleep(1)
    assert work.at == [0, 1000]


async def test_a_pass_that_hangs_is_ended_and_tried_again() -> None:
    at: list[float] = []

    async def work(_key: str) -> Verdict:
        at.append(asyncio.get_running_loop().time())
        await asyncio.sleep(10**6 if len(at) == 1 else 0)
        return Verdict()

    async with a_queue(work) as queue:
        queue.add("a")
        await asyncio.sleep(62)
    assert len(at) == 2
    assert at[1] - at[0] == pytest.approx(60, abs=0.2)


async def test_stop_lets_running_passes_end_and_starts_no_more() -> None:
    work = Passes(seconds=3)
    async with a_queue(work, workers=1) as queue:
        queue.add("a")
        queue.add("b")
        await asyncio.sleep(1)
        await queue.stop()
        assert work.running == 0
        await asyncio.sleep(10)
    assert work.at == [0]


async def test_an_urgent_key_waits_for_no_other() -> None:
    began: dict[str, float] = {}

    async def work(key: str) -> Verdict:
        began.setdefault(key, asyncio.get_running_loop().time())
        await asyncio.sleep(5)
        return Verdict()

    async with a_queue(work, workers=2) as queue:
        zero = asyncio.get_running_loop().time()
        for number in range(20):
            queue.add(f"other{number}")
        await asyncio.sleep(1)
        queue.add("first", urgent=True)
        queue.add("other19", urgent=True)
        await asyncio.sleep(0.1)
    assert began["first"] == began["other19"] == zero + 1
    assert len(began) == 4


async def test_many_urgent_keys_use_every_worker_and_get_one_pass_each() -> None:
    work = Passes(seconds=1)
    async with a_queue(work, workers=4) as queue:
        for number in range(16):
            queue.add(f"k{number}", urgent=True)
        await asyncio.sleep(10)
    assert (work.most, work.at) == (8, [0] * 8 + [1] * 8)


async def test_a_key_that_was_urgent_once_is_not_so_for_ever() -> None:
    work = Passes(seconds=1)
    async with a_queue(work, workers=1) as queue:
        queue.add("a", urgent=True)
        await asyncio.sleep(2)
        for key in ("b", "c", "a"):
            queue.add(key)
        await asyncio.sleep(10)
    assert (work.most, work.at) == (1, [0, 2, 3, 4])
