"""A replica that starts gets the first request when it is ready, not when Kubernetes has said so.

Holds: gateway/routing/readiness.py
"""

import asyncio
import contextlib

import pytest

from preamar.gateway.discovery import catalog
from preamar.gateway.routing import readiness
from tests.gateway.conftest import endpoints, service, until
from tests.gateway.fake_triton import FakeTriton


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(readiness, "EVERY_SECONDS", 0.03)


@contextlib.asynccontextmanager
async def waiting(rig, name="gpt"):
    """A request that is held, and its place when it has one."""
    line = rig.line(name)
    task = asyncio.create_task(line.enter(line.turn("acme")))
    await until(lambda: line.hold or task.done())
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            (await task).release()


async def test_who_waits_is_sent_to_a_starting_replica_once_that_says_it_is_ready(rig):
    async with FakeTriton() as fake:
        fake.loaded = False
        rig.know([service("gpt")], endpoints("gpt", fake.port, ready=False))
        async with waiting(rig) as task:
            await until(lambda: fake.asked_ready >= 3)
            assert not task.done()
            fake.loaded = True
            async with asyncio.timeout(60):
                assert (await task).replica.address.http == fake.port
        asked = fake.asked_ready
        rig.know(slices=endpoints("gpt", fake.port))  # the EndpointSlice says it too
        (replica,) = rig.line("gpt").replicas.values()
        assert replica.usable
        await asyncio.sleep(3 * readiness.EVERY_SECONDS)
        assert fake.asked_ready == asked


async def test_a_replica_that_comes_while_somebody_waits_is_asked_too(rig):
    async with FakeTriton() as fake:
        rig.know([service("gpt")], [])
        async with waiting(rig) as task:
            rig.know(slices=endpoints("gpt", fake.port, ready=False))
            async with asyncio.timeout(60):
                await task


async def test_nobody_is_asked_where_nobody_waits_or_another_replica_serves(rig):
    async with FakeTriton() as fake, FakeTriton() as other:
        rig.know([service("gpt")], endpoints("gpt", fake.port, ready=False))
        await asyncio.sleep(3 * readiness.EVERY_SECONDS)
        both = endpoints("gpt", fake.port, ready=False) + endpoints("gpt", other.port)
        rig.know(slices=both)
        async with waiting(rig) as task:
            assert (await task).replica.address.http == other.port
            await asyncio.sleep(3 * readiness.EVERY_SECONDS)
        assert fake.asked_ready == 0


async def test_one_that_leaves_or_cannot_be_reached_is_sent_nothing(rig):
    async with FakeTriton() as fake:
        leaving = endpoints("gpt", fake.port, ready=False, terminating=True)
        gone = endpoints("gpt", 1, ready=False)
        rig.know([service("gpt")], leaving + gone)
        assert {a.http for a in catalog.starting(rig.gateway.watcher.snapshot)["demo/gpt"]} == {1}
        async with waiting(rig) as task:
            await asyncio.sleep(3 * readiness.EVERY_SECONDS)
            assert not task.done()
        assert fake.asked_ready == 0
        # Who stopped waiting has ended the asking.
        await until(rig.line("gpt")._readiness._task.done)


async def test_a_yes_that_kubernetes_never_repeats_counts_for_a_while_only(
    rig, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(readiness, "TRUST_SECONDS", 0.3)
    async with FakeTriton() as fake:
        rig.know([service("gpt")], endpoints("gpt", fake.port, ready=False))
        async with waiting(rig) as task:
            await task
            assert rig.line("gpt").awake
            await until(lambda: not rig.line("gpt").awake)


async def test_one_that_begins_to_leave_gets_no_more_at_once(rig):
    async with FakeTriton() as fake:
        rig.know([service("gpt")], endpoints("gpt", fake.port, ready=False))
        async with waiting(rig) as task:
            await task
            rig.know(slices=endpoints("gpt", fake.port, ready=False, terminating=True))
            assert not rig.line("gpt").awake
