"""An operator whose watches fall behind: the real program with the chart's rights, on this machine.

It speaks to the API server through a proxy that can keep to itself what a watch says. The operator
of the installation must not run meanwhile: the two share its Lease and its account.
"""

import asyncio
import base64
import json
import os
import secrets
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

from e2e.cluster import Cluster
from e2e.clusters.bare import free_ports
from e2e.clusters.choice import provider
from e2e.faults.proxy import Proxy
from e2e.journeys.audit import SYSTEM
from e2e.journeys.demand_metric import certificate


class Holding(Proxy):
    """From the first status on that is written after ``armed``, keeps back what watches say of that
    kind. ``asked``: the kinds (plural) of which an object was then read by its name."""

    def __init__(self, upstream: str, session: aiohttp.ClientSession, tls: ssl.SSLContext) -> None:
        super().__init__(upstream, session, tls)
        self.armed = False
        self.held: set[str] = set()
        self.asked: set[str] = set()

    async def _send(self, request: web.Request, body: bytes) -> web.Response:
        parts = request.path.split("/")
        if self.armed and parts[-1] == "status":
            self.held.add(parts[-3])
        return await super()._send(request, body)

    async def _forward(self, request: web.Request, body: bytes) -> web.StreamResponse:
        before, _, last = request.path.rpartition("/")
        if request.query.get("watch") != "true":
            self.asked |= self.held & {before.rpartition("/")[2]}
            return await super()._forward(request, body)
        headers = {"Authorization": request.headers["Authorization"]}
        async with self.session.get(self._target(request), headers=headers) as answer:
            response = web.StreamResponse(status=answer.status)
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                if last in self.held:
                    await asyncio.Event().wait()  # until the proxy is stopped
                await response.write(chunk)
            return response


@contextmanager
def lagging(here: Cluster, namespace: str, directory: Path) -> Iterator[Holding]:
    """While the block runs, the operator runs here and watches ``namespace`` alone."""
    admin = yaml.safe_load(Path(here.kubeconfig).read_text())["clusters"][0]["cluster"]
    trusted = base64.b64decode(admin["certificate-authority-data"]).decode()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="lagging", daemon=True)
    thread.start()

    def now(task: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(task, loop).result(20)

    async def begin() -> tuple[Holding, int]:
        tls = ssl.create_default_context(cadata=trusted)
        connector = aiohttp.TCPConnector(ssl=tls, limit=0)
        session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout())
        proxy = Holding(admin["server"], session, certificate(directory))
        return proxy, await proxy.start()

    async def end() -> None:
        await proxy.stop()
        await proxy.session.close()

    proxy, port = now(begin())
    try:
        with running(here, namespace, directory, port):
            yield proxy
    finally:
        now(end())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)


@contextmanager
def running(here: Cluster, namespace: str, directory: Path, port: int) -> Iterator[None]:
    """``preamar operator`` as the account of the installation's own."""
    (directory / "internal-key").write_text(secrets.token_hex(32))  # no gateway reports here
    probes, demand = free_ports(2)
    flags = {
        "--kubeconfig": kubeconfig(here, directory, port),
        "--namespaces": namespace,
        "--namespace": SYSTEM,
        "--identity": "preamar-operator-lagging",
        "--host": "127.0.0.1",
        "--probe-port": probes,
        "--demand-port": demand,
        "--secrets-dir": directory,
    }
    argv = [str(part) for flag in flags.items() for part in flag]
    with (directory / "operator.log").open("wb") as log:
        process = subprocess.Popen(
            [Path(sys.prefix) / "bin/preamar", "operator", *argv],
            env={k: v for k, v in os.environ.items() if not k.startswith("PREAMAR_")},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        finally:
            process.kill()


def kubeconfig(here: Cluster, directory: Path, port: int) -> Path:
    """By the proxy, with a token of the operator's account."""
    token = provider(here.provider).kubectl()(
        "create", "token", "preamar-operator", f"--namespace={SYSTEM}", "--duration=1h"
    )
    server = {"server": f"https://127.0.0.1:{port}", "insecure-skip-tls-verify": True}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "proxy", "cluster": server}],
        "users": [{"name": "operator", "user": {"token": token.strip()}}],
        "contexts": [{"name": "only", "context": {"cluster": "proxy", "user": "operator"}}],
        "current-context": "only",
    }
    path = directory / "kubeconfig"
    path.touch(mode=0o600)
    path.write_text(json.dumps(config))
    return path
