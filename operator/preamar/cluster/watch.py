"""What is there, and what changes: list and watch that never ends and never dies quietly.

It resumes where it was after any cut, lists again when the API server has forgotten that place
(410 in the stream or in the middle of a list), waits with growing, jittered pauses while the
server is away, and takes a connection for dead which has been silent for 70 s: bookmarks come about
every 60 s. ``WatchState`` says when it last heard anything.
"""

import asyncio
import json
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Never, cast

import aiohttp
from aiohttp.http_exceptions import LineTooLong
from kubernetes.aio.client import ApiClient

from preamar.cluster.call import CONNECT_SECONDS, call, problem, send
from preamar.cluster.kinds import collection
from preamar.cluster.port import ClusterError
from preamar.core.plan import Manifest

log = logging.getLogger(__name__)
ChangeType = Literal["ADDED", "MODIFIED", "DELETED"]
OnSnapshot = Callable[[Sequence[Manifest]], None]
OnChange = Callable[[ChangeType, Manifest], None]

PAGE = 500
SILENCE_SECONDS = 70.0
LIST_SECONDS = 60.0
# etcd keeps objects of up to 1.5 MiB; as JSON they grow.
LONGEST_LINE = 16 << 20
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 4.0


@dataclass(slots=True)
class WatchState:
    """How a watch is doing; times are of the monotonic clock."""

    at: float = field(default_factory=time.monotonic)
    synced: bool = False
    lists: int = 0
    failures: int = 0

    @property
    def silent_seconds(self) -> float:
        """How long nothing was heard."""
        return time.monotonic() - self.at


class _Unusable(Exception):
    """A callback raised: what its owner knows may now be wrong."""


class _Forgotten(Exception):
    """The server no longer knows the version we have (410)."""


async def watch(
    client: ApiClient,
    api_version: str,
    plural: str,
    *,
    namespace: str = "",
    selector: str | None = None,
    on_snapshot: OnSnapshot,
    on_change: OnChange,
    heard: WatchState | None = None,
) -> Never:
    """Run until cancelled. ``on_snapshot`` gets everything there is, after each list: whatever is
    not in it no longer exists. ``on_change`` gets each change since. Both are plain functions which
    must not block; if one raises, that is logged and everything is listed again. Every object
    carries ``apiVersion`` and ``kind``.

    ``async with connect() as client: asyncio.create_task(watch(client, "discovery.k8s.io/v1",
    "endpointslices", selector="…", on_snapshot=…, on_change=…, heard=Heard()))``
    """
    heard = heard or WatchState()
    path = collection(api_version, plural, namespace)
    chosen = {"labelSelector": selector} if selector else {}
    version = ""
    while True:
        try:
            if not version:
                items, version = await _list(client, path, chosen, api_version)
                _hand_over(on_snapshot, items)
                heard.at, heard.synced = time.monotonic(), True
                heard.lists += 1
            async for kind, changed in _stream(client, path, chosen, version):
                heard.at, heard.failures = time.monotonic(), 0
                version = changed["metadata"]["resourceVersion"]
                if kind != "BOOKMARK":
                    _hand_over(on_change, cast("ChangeType", kind), changed)
            heard.failures = 0
        except _Forgotten:
            log.info("watch of %s: the version is forgotten, listing again", path)
            version = ""
        except LineTooLong:
            # From the same version the same line would come again.
            heard.failures += 1
            log.warning("watch of %s: a change is too long, listing again", path)
            version = ""
        except (
            ClusterError,
            aiohttp.ClientError,
            TimeoutError,
            OSError,
            ValueError,
            KeyError,
        ) as error:
            heard.failures += 1
            log.warning("watch of %s: %s", path, error or type(error).__name__)
        except _Unusable as error:
            heard.failures += 1
            log.error(  # noqa: TRY400  # the callback's own error is the one to show
                "watch of %s: what was heard could not be used, listing again",
                path,
                exc_info=error.__cause__,
            )
            version = ""
        await asyncio.sleep(pause(heard.failures))


def _hand_over(callback: Callable[..., None], *news: Any) -> None:
    try:
        callback(*news)
    except Exception as error:
        raise _Unusable from error


def pause(failures: int) -> float:
    """Seconds before the next try: doubling, with jitter so that many do not come at once."""
    longest: float = min(FIRST_PAUSE * 2 ** min(failures, 10), LONGEST_PAUSE)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311


async def _list(
    client: ApiClient, path: str, chosen: dict[str, str], api_version: str
) -> tuple[list[Manifest], str]:
    """Everything, in pages; in one piece if the server forgets the list while we read it."""
    try:
        return await _pages(client, path, chosen, api_version, limit=PAGE)
    except _Forgotten:
        return await _pages(client, path, chosen, api_version, limit=0)


async def _pages(
    client: ApiClient, path: str, chosen: dict[str, str], api_version: str, limit: int
) -> tuple[list[Manifest], str]:
    items: list[Manifest] = []
    place = ""
    while True:
        query = chosen | ({"limit": str(limit)} if limit else {})
        query |= {"continue": place} if place else {}
        try:
            page = await call(client, "GET", path, query=query, deadline=LIST_SECONDS)
        except ClusterError as error:
            if error.status == 410:
                raise _Forgotten from error
            raise
        # Items of a list come without the kind that they have anywhere else.
        kind = str(page["kind"]).removesuffix("List")
        items += [{"apiVersion": api_version, "kind": kind, **item} for item in page["items"] or ()]
        place = page["metadata"].get("continue", "")
        if not place:
            return items, page["metadata"]["resourceVersion"]


async def _stream(client: ApiClient, path: str, chosen: dict[str, str], version: str) -> Any:
    """The changes since a version, bookmarks included, until the server ends the stream."""
    query = chosen | {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": version,
        # Streams which end at different times come back at different times.
        "timeoutSeconds": str(random.randint(240, 480)),  # noqa: S311
    }
    limits = aiohttp.ClientTimeout(
        total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS
    )
    response = await send(client, "GET", path, query, None, "application/json", limits)
    try:
        if response.status != 200:
            _raise(response.status, {}, path, response.headers)
        while line := await response.content.readline(max_line_length=LONGEST_LINE):
            event = json.loads(line)
            if event["type"] == "ERROR":
                status = event["object"]
                _raise(int(status.get("code", 500)), status, path, {})
            yield event["type"], event["object"]
    finally:
        response.close()


def _raise(status: int, answer: dict[str, Any], path: str, headers: Any) -> Never:
    if status == 410:
        raise _Forgotten
    raise problem(status, answer, "WATCH", path, headers)
