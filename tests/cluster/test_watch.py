"""A watch against a server that misbehaves: it resumes, lists again, and never dies.

Holds: cluster/call.py, cluster/watch.py
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration

from preamar.cluster import watch as watching
from preamar.cluster.watch import Heard, watch

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Answers lists and watches with what a test has laid out, and remembers what was asked."""

    def __init__(self) -> None:
        self.lists: list[Answer] = []
        self.watches: list[Answer] = []
        self.asked: list[dict[str, str]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(dict(request.query))
        answers = self.watches if "watch" in request.query else self.lists
        if not answers:
            await asyncio.sleep(3600)
        return await answers.pop(0)(request)

    def watched_from(self) -> list[str]:
        return [query["resourceVersion"] for query in self.asked if "watch" in query]


class Heardings:
    """What the callbacks got."""

    def __init__(self) -> None:
        self.snapshots: list[list[str]] = []
        self.changes: list[tuple[str, str]] = []

    def snapshot(self, items: Any) -> None:
        self.snapshots.append([item["metadata"]["name"] for item in items])

    def change(self, kind: str, item: Any) -> None:
        if item["metadata"]["name"] == "bad":
            raise ValueError("this cannot be used")
        self.changes.append((kind, item["metadata"]["name"]))


def a_thing(name: str, version: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": str(version)}}


def a_list(version: int, *names: str, more: str = "") -> Answer:
    async def answer(_request: web.Request) -> web.Response:
        metadata = {"resourceVersion": str(version)} | ({"continue": more} if more else {})
        items = [a_thing(name, version) for name in names]
        return web.json_response({"kind": "ThingList", "metadata": metadata, "items": items})

    return answer


def a_failure(status: int, code: int | None = None) -> Answer:
    async def answer(_request: web.Request) -> web.Response:
        return web.json_response({"code": code or status, "message": "no"}, status=status)

    return answer


def a_stream(*lines: dict[str, Any] | str, then: str = "end") -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for line in lines:
            text = line if isinstance(line, str) else json.dumps(line) + "\n"
            await response.write(text.encode())
        if then == "silence":
            await asyncio.sleep(3600)
        if then == "cut" and request.transport is not None:
            request.transport.abort()
        return response

    return answer


def said(kind: str, name: str, version: int) -> dict[str, Any]:
    return {"type": kind, "object": a_thing(name, version)}


@contextlib.asynccontextmanager
async def a_watch(server: Server) -> AsyncIterator[tuple[Heardings, Heard]]:
    app = web.Application()
    app.router.add_get("/api/v1/things", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    settings = Configuration()
    settings.host = f"http://127.0.0.1:{runner.addresses[0][1]}"
    heardings, heard = Heardings(), Heard()
    async with ApiClient(configuration=settings) as client:
        task = asyncio.create_task(
            watch(
                client,
                "v1",
                "things",
                on_snapshot=heardings.snapshot,
                on_change=heardings.change,
                heard=heard,
            )
        )
        try:
            yield heardings, heard
        finally:
            assert not task.done()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await runner.cleanup()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "LONGEST_PAUSE", 0.02)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(40):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_what_is_there_comes_first_then_what_changes() -> None:
    server = Server()
    server.lists = [a_list(5, "a", "b")]
    server.watches = [a_stream(said("ADDED", "c", 6), said("DELETED", "a", 7), then="silence")]
    async with a_watch(server) as (heardings, heard):
        await until(lambda: len(heardings.changes) == 2)
        assert heardings.snapshots == [["a", "b"]]
        assert heardings.changes == [("ADDED", "c"), ("DELETED", "a")]
        assert heard.synced
        assert heard.silent_seconds < 2
    assert server.watched_from() == ["5"]


async def test_a_long_list_is_read_in_pages_as_one_snapshot() -> None:
    server = Server()
    server.lists = [a_list(5, "a", more="next"), a_list(5, "b")]
    async with a_watch(server) as (heardings, _):
        await until(lambda: bool(heardings.snapshots))
        assert heardings.snapshots == [["a", "b"]]


@pytest.mark.parametrize("then", ["end", "cut"])
async def test_after_a_cut_it_goes_on_from_the_last_version_bookmarks_included(then: str) -> None:
    server = Server()
    server.lists = [a_list(5)]
    server.watches = [
        a_stream(said("ADDED", "a", 6), said("BOOKMARK", "", 9), then=then),
        a_stream(said("ADDED", "b", 10), then="silence"),
    ]
    async with a_watch(server) as (heardings, _):
        await until(lambda: ("ADDED", "b") in heardings.changes)
    assert server.watched_from() == ["5", "9"]
    assert len(heardings.snapshots) == 1


@pytest.mark.parametrize(
    "gone",
    [a_failure(410), a_stream({"type": "ERROR", "object": {"code": 410}})],
    ids=["on the request", "in the stream"],
)
async def test_a_forgotten_version_is_followed_by_a_new_list(gone: Answer) -> None:
    server = Server()
    server.lists = [a_list(5, "a"), a_list(20, "b")]
    server.watches = [gone, a_stream(then="silence")]
    async with a_watch(server) as (heardings, heard):
        await until(lambda: len(server.watched_from()) == 2)
        assert heardings.snapshots == [["a"], ["b"]]
        assert heard.lists == 2
    assert server.watched_from() == ["5", "20"]


async def test_a_list_that_is_forgotten_while_it_is_read_is_read_in_one_piece() -> None:
    server = Server()
    server.lists = [a_list(5, "a", more="next"), a_failure(410), a_list(9, "a", "b")]
    async with a_watch(server) as (heardings, _):
        await until(lambda: bool(heardings.snapshots))
        assert heardings.snapshots == [["a", "b"]]
    assert "limit" not in server.asked[2]


@pytest.mark.parametrize(
    "trouble",
    [
        a_stream('{"type": "ADDED", "obj'),
        a_stream({"type": "ERROR", "object": {"code": 500, "message": "etcd"}}),
        a_failure(503),
        a_failure(429),
        a_failure(403),
    ],
    ids=["a line cut short", "an error in the stream", "503", "429", "403"],
)
async def test_trouble_is_survived_without_losing_the_place(trouble: Answer) -> None:
    server = Server()
    server.lists = [a_list(5)]
    server.watches = [trouble, a_stream(said("ADDED", "b", 10), then="silence")]
    async with a_watch(server) as (heardings, _):
        await until(lambda: ("ADDED", "b") in heardings.changes)
    assert server.watched_from() == ["5", "5"]


async def test_a_list_that_fails_is_tried_again() -> None:
    server = Server()
    server.lists = [a_failure(500), a_failure(503), a_list(5, "a")]
    async with a_watch(server) as (heardings, heard):
        assert not heard.synced
        await until(lambda: bool(heardings.snapshots))
        assert heard.failures == 2


async def test_a_silent_connection_is_taken_for_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "SILENCE_SECONDS", 0.2)
    server = Server()
    server.lists = [a_list(5)]
    server.watches = [
        a_stream(said("ADDED", "a", 6), then="silence"),
        a_stream(said("ADDED", "b", 7), then="silence"),
    ]
    async with a_watch(server) as (heardings, _):
        await until(lambda: ("ADDED", "b") in heardings.changes)
    assert server.watched_from()[:2] == ["5", "6"]


async def test_a_callback_that_fails_costs_a_new_list_and_not_the_watch() -> None:
    server = Server()
    server.lists = [a_list(5), a_list(9, "a")]
    server.watches = [a_stream(said("ADDED", "bad", 6), then="silence"), a_stream(then="silence")]
    async with a_watch(server) as (heardings, _):
        await until(lambda: len(heardings.snapshots) == 2)
    assert heardings.snapshots == [[], ["a"]]


def test_pauses_grow_and_are_bounded() -> None:
    for failures in range(60):
        assert 0 < watching.pause(failures) <= watching.LONGEST_PAUSE


@pytest.mark.parametrize("size", [200_000, 3_000_000])
async def test_an_object_may_be_as_long_as_the_server_keeps_them(size: int) -> None:
    large = said("ADDED", "large", 6)
    large["object"]["endpoints"] = "x" * size
    server = Server()
    server.lists = [a_list(5)]
    server.watches = [a_stream(large, said("ADDED", "next", 7), then="silence")]
    async with a_watch(server) as (heardings, heard):
        await until(lambda: ("ADDED", "next") in heardings.changes)
        assert heardings.changes == [("ADDED", "large"), ("ADDED", "next")]
        assert (heard.lists, heard.failures) == (1, 0)


async def test_a_line_without_end_costs_a_new_list_and_not_the_watch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watching, "LONGEST_LINE", 200_000)
    server = Server()
    server.lists = [a_list(5), a_list(9, "a")]
    server.watches = [a_stream("x" * 300_000, then="silence"), a_stream(then="silence")]
    async with a_watch(server) as (heardings, _):
        await until(lambda: len(heardings.snapshots) == 2)
        await until(lambda: len(server.watched_from()) == 2)
    assert server.watched_from() == ["5", "9"]
