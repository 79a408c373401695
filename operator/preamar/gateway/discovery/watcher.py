"""How the gateway learns of models and replicas, and how it remembers them.

It watches the API server by itself; what it heard goes to a file a moment later, so that a gateway
that starts while the API server is away serves what was last known. Without a cluster that file is
all there is, and it is followed.
"""

import asyncio
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from preamar.api import GROUP, VERSION
from preamar.cluster.connect import Unreachable, connect
from preamar.cluster.watch import watch
from preamar.gateway.discovery import catalog
from preamar.gateway.settings import Settings
from preamar.protocol.labels import SERVICE_LABEL, SLICE_OF_LABEL

log = logging.getLogger(__name__)
SAVE_SECONDS = 1.0
LOOK_SECONDS = 0.25
RETRY_SECONDS = 2.0
NEEDED = {"services", "slices", "tenants"}
"""What has to be known before anything is: without tenants nobody would have limits."""


class Watcher:
    """``changed`` is called after every change, once for all that came in one go."""

    def __init__(self, settings: Settings, changed: Callable[[], None]) -> None:
        self.snapshot = catalog.Snapshot()
        self.known = False
        self._settings = settings
        self._changed = changed
        self._synced: set[str] = set()
        self._dirty = False
        self._scheduled = False

    def load(self) -> bool:
        """Take up what the file says; False where there is none that can be read."""
        try:
            self.snapshot = catalog.Snapshot.load(json.loads(self._settings.snapshot.read_bytes()))
        except FileNotFoundError:
            return False
        except (OSError, ValueError, AttributeError, TypeError) as error:
            log.warning("the snapshot %s is not used: %s", self._settings.snapshot, error)
            return False
        self.known = True
        self._changed()
        return True

    def save(self) -> None:
        """Write what is known, all or nothing. Blocks on the disk."""
        self._write(json.dumps(self.snapshot.dump()).encode())

    def _write(self, data: bytes) -> None:
        path: Path = self._settings.snapshot
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(f".{os.getpid()}.new")
        with fresh.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)

    async def run(self) -> None:
        """Follow the cluster, or the file, until cancelled."""
        if self._settings.no_cluster:
            await self._follow_file()
        else:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow_cluster())
                tasks.create_task(self._keep())

    async def _follow_file(self) -> None:
        seen = None
        while True:
            try:
                status = self._settings.snapshot.stat()
                stamp = (status.st_mtime_ns, status.st_ino)
            except OSError:
                stamp = None
            if stamp != seen and stamp is not None:
                self.load()
            seen = stamp
            await asyncio.sleep(LOOK_SECONDS)

    async def _follow_cluster(self) -> None:
        settings = self._settings
        while True:
            try:
                async with (
                    connect(settings.kubeconfig or None) as client,
                    asyncio.TaskGroup() as tasks,
                ):
                    group = f"{GROUP}/{VERSION}"
                    operator = f"{SLICE_OF_LABEL}={settings.operator_service}"
                    for which, version, plural, namespace, selector in (
                        ("services", group, "inferenceservices", settings.watch_namespace, None),
                        ("tenants", group, "tenants", "", None),
                        ("slices", "discovery.k8s.io/v1", "endpointslices",
                         settings.watch_namespace, SERVICE_LABEL),
                        ("operators", "discovery.k8s.io/v1", "endpointslices",
                         settings.namespace, operator),
                    ):  # fmt: skip
                        tasks.create_task(
                            watch(
                                client,
                                version,
                                plural,
                                namespace=namespace,
                                selector=selector,
                                on_snapshot=partial(self._all, which),
                                on_change=partial(self._one, which),
                            )
                        )
            except Unreachable as error:
                log.warning("%s", error)
            await asyncio.sleep(RETRY_SECONDS)

    def _all(self, which: str, bodies: Sequence[Mapping[str, Any]]) -> None:
        self.snapshot.replace(which, bodies)
        self._synced.add(which)
        self._note()

    def _one(self, which: str, change: str, body: Mapping[str, Any]) -> None:
        self.snapshot.change(which, change, body)
        self._note()

    def _note(self) -> None:
        self._dirty = True
        if not self.known and self._synced >= NEEDED:
            self.known = True
        if not self._scheduled:
            # Changes that came together are folded together.
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        self._scheduled = False
        # Half a picture would look like models without replicas, or like no models at all.
        if self.known:
            self._changed()

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(SAVE_SECONDS)
            if not (self._dirty and self._synced >= NEEDED):
                continue
            self._dirty = False
            try:
                await asyncio.to_thread(self._write, json.dumps(self.snapshot.dump()).encode())
            except OSError as error:
                self._dirty = True
                log.warning("the snapshot cannot be written: %s", error)
