"""The second witness raises and never lowers, and what it does not hear it does not make up.

Holds: demand/witness.py
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from preamar.demand import witness
from preamar.demand.witness import STALE_SECONDS, Witness, witnessed
from preamar.protocol.demand import Demand

CHAT = "demo/chat"
counts = st.integers(0, 1000)


@given(st.none() | counts, counts, counts, st.none() | counts)
def test_the_witness_raises_and_never_lowers(
    in_flight: int | None, at_least: int, queued: int, seen: int | None
) -> None:
    before = Demand(in_flight, max(at_least, queued), queued)
    after = witnessed(before, seen)
    assert (after.in_flight is None) == (in_flight is None)
    assert after.at_least >= before.at_least
    assert (after.in_flight or 0) >= (before.in_flight or 0)


def test_gateways_and_servers_count_the_same_requests_so_the_larger_counts() -> None:
    assert witnessed(Demand(10, 10, 4), 6) == Demand(10, 10, 4)
    assert witnessed(Demand(10, 10, 4), 9) == Demand(13, 13, 4)
    assert witnessed(Demand(None, 3, 0), 9) == Demand(None, 9, 0)
    assert witnessed(Demand(0, 0, 0), None) == Demand(0, 0, 0)


class Servers:
    """Pods on loopback addresses, one port, and what each says."""

    def __init__(self) -> None:
        self.says: dict[str, str] = {}
        self.port = 0
        self.asked: list[str] = []
        self.now = self.most = 0
        self.gate = asyncio.Event()
        self.gate.set()

    def waiting(self, ip: str, count: float) -> None:
        self.says[ip] = f'nv_inference_pending_request_count{{model="m",version="1"}} {count}\n'

    async def answer(self, request: web.Request) -> web.Response:
        ip = request.transport.get_extra_info("sockname")[0]
        self.asked.append(ip)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self.gate.wait()
        finally:
            self.now -= 1
        if ip not in self.says:
            raise web.HTTPServiceUnavailable
        return web.Response(text=self.says[ip])


@pytest.fixture
async def servers() -> AsyncIterator[Servers]:
    servers = Servers()
    app = web.Application()
    app.router.add_get("/metrics", servers.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "0.0.0.0", 0)  # loopback has many addresses
    await site.start()
    servers.port = site._server.sockets[0].getsockname()[1]
    yield servers
    await runner.cleanup()


@contextlib.asynccontextmanager
async def asking(servers: Servers, heard: list[str]) -> AsyncIterator[Witness]:
    watcher = Witness(heard.append, servers.port)
    task = asyncio.create_task(watcher.run())
    yield watcher
    assert not task.done(), task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def until(true: object) -> None:
    async with asyncio.timeout(60):
        while not true():  # type: ignore[operator]  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witness, "EVERY_SECONDS", 0.1)


async def test_pods_add_up_and_a_change_is_told_once(servers: Servers) -> None:
    heard: list[str] = []
    servers.waiting("127.0.0.1", 3)
    servers.waiting("127.0.0.2", 4)
    async with asking(servers, heard) as watcher:
        watcher.follow(CHAT, ["127.0.0.1", "127.0.0.2"])
        await until(lambda: watcher.seen(CHAT) == 4 + 5)
        told = len(heard)
        assert 1 <= told <= 2
        asked = len(servers.asked)
        await until(lambda: len(servers.asked) > asked + 4)
        assert len(heard) == told
        servers.waiting("127.0.0.1", 0)
        await until(lambda: watcher.seen(CHAT) == 5)
        assert heard == [CHAT] * (told + 1)


async def test_a_pod_that_does_not_answer_is_unknown_and_the_others_are_still_heard(
    servers: Servers,
) -> None:
    servers.waiting("127.0.0.1", 3)
    servers.says["127.0.0.3"] = "no metrics { at all"
    async with asking(servers, []) as watcher:
        watcher.follow(CHAT, ["127.0.0.1", "127.0.0.2", "127.0.0.3"])
        watcher.follow("demo/deaf", ["127.0.0.2", "127.0.0.3"])
        await until(lambda: watcher.seen(CHAT) == 4 and set(servers.asked) >= {"127.0.0.2"})
        assert watcher.seen("demo/deaf") is None
        assert watcher.seen("demo/never-named") is None


async def test_what_is_old_is_unknown_and_does_not_hold_a_size_for_ever(servers: Servers) -> None:
    heard: list[str] = []
    servers.waiting("127.0.0.1", 3)
    async with asking(servers, heard) as watcher:
        watcher.follow(CHAT, ["127.0.0.1"])
        await until(lambda: watcher.seen(CHAT) == 4)
        servers.says.clear()
        pod = watcher._services[CHAT].pods["127.0.0.1"]
        assert watcher.seen(CHAT, pod.at + STALE_SECONDS) == 4
        assert watcher.seen(CHAT, pod.at + STALE_SECONDS + 0.1) is None
        told = len(heard)
        pod.at -= STALE_SECONDS + 1
        await until(lambda: len(heard) > told)
        assert watcher.seen(CHAT) is None


async def test_pods_that_left_are_asked_no_more(servers: Servers) -> None:
    servers.waiting("127.0.0.1", 3)
    servers.waiting("127.0.0.2", 4)
    async with asking(servers, []) as watcher:
        watcher.follow(CHAT, ["127.0.0.1", "127.0.0.2"])
        await until(lambda: watcher.seen(CHAT) == 9)
        watcher.follow(CHAT, ["127.0.0.2"])
        assert watcher.seen(CHAT) == 5
        servers.asked.clear()
        await until(lambda: len(servers.asked) > 2)
        assert set(servers.asked) == {"127.0.0.2"}
        watcher.follow(CHAT, [])
        assert watcher.seen(CHAT) is None
        assert not any(watcher._turns)


async def test_many_pods_are_asked_a_bounded_number_at_once(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witness, "AT_ONCE", 5)
    monkeypatch.setattr(witness, "DEADLINE_SECONDS", 30)
    servers.gate.clear()
    async with asking(servers, []) as watcher:
        ips = [f"127.0.1.{n}" for n in range(1, 41)]
        for ip in ips:
            servers.waiting(ip, 1)
        watcher.follow(CHAT, ips)
        await until(lambda: servers.now == 5)
        await asyncio.sleep(0.2)
        assert len(servers.asked) == 5
        assert len(asyncio.all_tasks()) < 40 + 30  # nor does anybody wait twice
        servers.gate.set()
        await until(lambda: watcher.seen(CHAT) == 80)
        assert servers.most == 5


async def test_a_pod_that_hangs_is_given_up_and_asked_again(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witness, "DEADLINE_SECONDS", 0.05)
    servers.waiting("127.0.0.1", 1)
    servers.gate.clear()
    async with asking(servers, []) as watcher:
        watcher.follow(CHAT, ["127.0.0.1"])
        await until(lambda: len(servers.asked) >= 3)
        assert watcher.seen(CHAT) is None
        servers.gate.set()
        await until(lambda: watcher.seen(CHAT) == 2)
