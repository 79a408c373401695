"""A TLS proxy between one operator and an API server: it sees every request, and can end the world
just before a write reaches the server, or just after, before the operator learns of it.

Writes are told apart by what they are (verb, kind, name, how many of it came before), because two
runs of one workload do not send them in quite the same order. The Lease's are not counted.
"""

import asyncio
import contextlib
import json
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from aiohttp import web

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
HOP = frozenset({"connection", "transfer-encoding", "content-length", "host", "content-encoding"})


class Point(NamedTuple):
    """One write of a workload, and the side on which to crash."""

    write: str
    side: str

    def __str__(self) -> str:
        return f"{self.side} {self.write}"


@dataclass(frozen=True, slots=True)
class Write:
    """A write as it passed through."""

    name: str
    method: str
    path: str
    status: int
    body: Any


@dataclass(slots=True)
class Proxy:
    """One operator's way to the API server. ``crash`` is called once, at ``point``."""

    upstream: str
    session: aiohttp.ClientSession
    tls: ssl.SSLContext
    crash: Callable[[], None] = lambda: None
    point: Point | None = None
    writes: list[Write] = field(default_factory=list)
    crashed: asyncio.Event = field(default_factory=asyncio.Event)
    _seen: Counter[str] = field(default_factory=Counter)
    _runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Listen on a free port of loopback; returns it."""
        app = web.Application(client_max_size=16 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._pass)
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.2, handler_cancellation=True
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self.tls)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Close everything."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        if request.method not in WRITES or "/leases" in request.path:
            return await self._forward(request, await request.read())
        body = await request.read()
        kind = f"{request.method} {_short(request.path)}"
        self._seen[kind] += 1
        name = f"{kind} #{self._seen[kind]}"
        side = self.point.side if self.point and self.point.write == name else ""
        if side == "before":
            return self._die(request)
        response = await self._send(request, body)
        parsed = json.loads(body) if body else None
        self.writes.append(Write(name, request.method, request.path, response.status, parsed))
        if side == "after":
            return self._die(request)
        return response

    def _die(self, request: web.Request) -> web.Response:
        self.point = None
        self.crash()
        self.crashed.set()
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)

    async def _send(self, request: web.Request, body: bytes) -> web.Response:
        async with self.session.request(
            request.method, self._target(request), data=body or None, headers=_kept(request.headers)
        ) as answer:
            return web.Response(
                status=answer.status, body=await answer.read(), headers=_kept(answer.headers)
            )

    async def _forward(self, request: web.Request, body: bytes) -> web.StreamResponse:
        """Reads and watches: streamed, because a watch has no end."""
        async with self.session.request(
            request.method, self._target(request), data=body or None, headers=_kept(request.headers)
        ) as answer:
            response = web.StreamResponse(status=answer.status, headers=_kept(answer.headers))
            with contextlib.suppress(ConnectionError, aiohttp.ClientError):
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
            return response

    def _target(self, request: web.Request) -> str:
        return f"{self.upstream}{request.path_qs}"


def client_context(pki: Path) -> ssl.SSLContext:
    """How the proxy itself is known to the API server: as an administrator."""
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    return context


def server_context(pki: Path) -> ssl.SSLContext:
    """Whom the operator believes to speak to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "apiserver.crt", pki / "apiserver.key")
    return context


def _short(path: str) -> str:
    """A path without its group and namespace: ``deployments/x-serve``, ``jobs/x-1/status``."""
    parts = path.strip("/").split("/")
    after = parts[parts.index("namespaces") + 2 :] if "namespaces" in parts else parts[3:]
    if after[:1] == ["events"]:
        # The name of an event is a digest which holds the UID of what it is about.
        return "events"
    return "/".join(after)


def _kept(headers: Any) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in HOP}
