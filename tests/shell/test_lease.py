"""Two replicas and one Lease, in fake time and with a clock for each.

Holds: shell/lease.py
"""

import asyncio
import contextlib

import pytest

from preamar.cluster.lease import Held
from preamar.cluster.port import ClusterError, Conflict
from preamar.shell import lease as leasing
from preamar.shell.lease import DURATION_SECONDS, WRITES_SECONDS, LeaseKeeper, Lost

pytestmark = pytest.mark.looptime


class OneLease:
    """The API server's Lease: versions, and nothing of time."""

    def __init__(self) -> None:
        self.held = Held()
        self.version = 0
        self.away = False

    async def read(self) -> Held:
        if self.away:
            raise ClusterError("away")
        return self.held

    async def write(self, before: Held, holder: str, seconds: int) -> Held:
        if self.away:
            raise ClusterError("away")
        if before.version != self.held.version:
            raise Conflict("not as read")
        self.version += 1
        self.held = Held(holder, str(self.version), self.held.transitions)
        return self.held


@pytest.fixture(autouse=True)
def _loop_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        @staticmethod
        def monotonic() -> float:
            return asyncio.get_running_loop().time()

    monkeypatch.setattr(leasing, "time", Clock)


@contextlib.asynccontextmanager
async def a_leader(keeper: LeaseKeeper):
    await keeper.acquire()
    task = asyncio.create_task(keeper.keep())
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Lost):
            await task


async def test_a_free_lease_is_taken_at_once_and_kept() -> None:
    keeper = LeaseKeeper(OneLease(), "a")
    assert keeper.seconds_left() <= 0
    async with a_leader(keeper) as task:
        for _ in range(100):
            await asyncio.sleep(1)
            assert keeper.seconds_left() > 0
        assert not task.done()


async def test_a_standby_waits_as_long_as_the_leader_renews() -> None:
    lease = OneLease()
    async with a_leader(LeaseKeeper(lease, "a")):
        standby = asyncio.create_task(LeaseKeeper(lease, "b").acquire())
        await asyncio.sleep(300)
        assert not standby.done()
        standby.cancel()


async def test_when_the_leader_dies_the_standby_takes_over_within_twenty_seconds() -> None:
    lease = OneLease()
    keeper = LeaseKeeper(lease, "b")
    async with a_leader(LeaseKeeper(lease, "a")):
        standby = asyncio.create_task(keeper.acquire())
        await asyncio.sleep(30)
    async with asyncio.timeout(20):
        await standby
    assert keeper.seconds_left() > 0


async def test_a_lease_that_is_given_back_is_taken_within_three_seconds() -> None:
    lease = OneLease()
    first, second = LeaseKeeper(lease, "a"), LeaseKeeper(lease, "b")
    async with a_leader(first):
        standby = asyncio.create_task(second.acquire())
        await asyncio.sleep(30)
        await first.release()
        assert first.seconds_left() <= 0
        async with asyncio.timeout(3):
            await standby


async def test_a_leader_that_cannot_renew_stops_before_another_can_begin() -> None:
    assert WRITES_SECONDS < DURATION_SECONDS
    lease = OneLease()
    first, second = LeaseKeeper(lease, "a"), LeaseKeeper(lease, "b")
    async with a_leader(first) as task:
        await asyncio.sleep(5)
        lease.away = True
        writable = 0.0
        start = asyncio.get_running_loop().time()
        while not task.done():
            await asyncio.sleep(0.1)
            if first.seconds_left() > 0:
                writable = asyncio.get_running_loop().time() - start
        assert isinstance(task.exception(), Lost)
        assert writable <= WRITES_SECONDS
        lease.away = False
        await second.acquire()
        assert asyncio.get_running_loop().time() - start > writable
        assert first.seconds_left() <= 0


async def test_a_frozen_leader_wakes_up_without_the_right_to_write() -> None:
    lease = OneLease()
    frozen = LeaseKeeper(lease, "a")
    await frozen.acquire()  # and never renews, as under SIGSTOP
    second = LeaseKeeper(lease, "b")
    await second.acquire()
    assert second.seconds_left() > 0
    assert frozen.seconds_left() <= 0
    await frozen.release()
    assert lease.held.holder == "b"


async def test_a_stolen_lease_is_lost_at_the_next_renewal() -> None:
    lease = OneLease()
    keeper = LeaseKeeper(lease, "a")
    async with a_leader(keeper) as task:
        await asyncio.sleep(1)
        lease.held = Held("thief", "99")
        await asyncio.sleep(3)
        assert isinstance(task.exception(), Lost)
        assert keeper.seconds_left() <= 0


async def test_an_edit_by_a_person_deposes_nobody() -> None:
    lease = OneLease()
    keeper = LeaseKeeper(lease, "a")
    async with a_leader(keeper) as task:
        await asyncio.sleep(1)
        lease.held = Held("a", "99")
        await asyncio.sleep(60)
        assert not task.done()
        assert keeper.seconds_left() > 0


async def test_a_restarted_container_of_the_same_pod_goes_on_at_once() -> None:
    lease = OneLease()
    await LeaseKeeper(lease, "a").acquire()
    async with asyncio.timeout(0.5):
        await LeaseKeeper(lease, "a").acquire()
