"""May we still write? Asked before every write, on the clock that only we can hear.

An operator that was frozen or cut off wakes up believing that it leads. The Lease's deadline on
the monotonic clock says otherwise without asking anybody, and no write may outlast it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from preamar.cluster.port import Cluster, ClusterError
from preamar.core.plan import Event, Manifest, Mark, Ref


class Deposed(ClusterError):
    """The Lease ran out: another operator may be writing by now."""


class FencedCluster:
    """A ``Cluster`` that writes only while ``seconds_left`` of our Lease are positive."""

    def __init__(self, cluster: Cluster, seconds_left: Callable[[], float]) -> None:
        self._cluster = cluster
        self._seconds_left = seconds_left

    @asynccontextmanager
    async def _fence(self) -> AsyncIterator[None]:
        left = self._seconds_left()
        if left <= 0:
            raise Deposed("the Lease is no longer ours: nothing was written")
        try:
            async with asyncio.timeout(left):
                yield
        except TimeoutError as error:
            raise Deposed("the Lease ran out during a write") from error

    async def read(self, ref: Ref) -> Manifest | None:
        """Reading harms nobody."""
        return await self._cluster.read(ref)

    async def apply(self, manifest: Manifest) -> str:
        """See ``Cluster``; raises ``Deposed``."""
        async with self._fence():
            return await self._cluster.apply(manifest)

    async def delete(self, ref: Ref, uid: str) -> None:
        """See ``Cluster``; raises ``Deposed``."""
        async with self._fence():
            await self._cluster.delete(ref, uid)

    async def scale(self, ref: Ref, replicas: int, version: str) -> str:
        """See ``Cluster``; raises ``Deposed``."""
        async with self._fence():
            return await self._cluster.scale(ref, replicas, version)

    async def mark(self, mark: Mark) -> None:
        """See ``Cluster``; raises ``Deposed``."""
        async with self._fence():
            await self._cluster.mark(mark)

    async def patch_status(self, manifest: Manifest) -> str:
        """See ``Cluster``; raises ``Deposed``."""
        async with self._fence():
            return await self._cluster.patch_status(manifest)

    async def emit(self, regarding: Manifest, event: Event) -> None:
        """See ``Cluster``; raises ``Deposed``."""
        async with self._fence():
            await self._cluster.emit(regarding, event)
