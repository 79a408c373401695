"""Do the watches show what exists? Counted every five minutes, because a watch can lose an event.

An object that an index still holds though it is gone is a ghost: it is left out from then on. One
that an index does not hold, or holds in an older version, for two counts means that a watch has
gone wrong: only a restart mends that, so the liveness probe turns red and says which.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence

from preamar.cluster.port import ClusterError
from preamar.shell.probes import OperatorHealth
from preamar.shell.watching.mirror import Add, Mirror, Watched

log = logging.getLogger(__name__)
EVERY_SECONDS, AGAIN_SECONDS = 300.0, 5.0
Census = Callable[[Watched, str], Awaitable[dict[str, int]]]


class Audit:
    """Compares a census with the mirror; ``namespaces`` are those watched, empty for all."""

    def __init__(
        self,
        mirror: Mirror,
        health: OperatorHealth,
        add: Add,
        census: Census,
        namespaces: Sequence[str] = (),
    ) -> None:
        self._mirror = mirror
        self._health = health
        self._add = add
        self._census = census
        self._namespaces = namespaces or ("",)

    async def run(self) -> None:
        """Audit until cancelled."""
        while True:
            await asyncio.sleep(EVERY_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311
            for watched in tuple(self._mirror.watched):
                try:
                    await self.check(watched)
                except ClusterError as error:
                    log.warning("%s could not be counted: %s", watched.plural, error)

    async def check(self, watched: Watched) -> None:
        """One kind. What differs is looked at once more, because a watch may be a moment behind."""
        ghosts, lost = await self._differences(watched)
        if not ghosts and not lost:
            return
        await asyncio.sleep(AGAIN_SECONDS)
        still_ghosts, still_lost = await self._differences(watched)
        for uid in ghosts & still_ghosts:
            _, key = self._mirror.versions(watched.plural)[uid]
            log.warning("the deletion of one of the %s of %s was missed", watched.plural, key)
            self._mirror.ghosts.add(uid)
            self._add(key)
        if lost & still_lost:
            self._health.worry = f"the watch of {watched.plural} has missed a change"

    async def _differences(self, watched: Watched) -> tuple[set[str], set[str]]:
        counted: dict[str, int] = {}
        # What is held is read first: what comes meanwhile is then newer in the census alone.
        held = self._mirror.versions(watched.plural)
        for namespace in ("",) if watched.cluster else self._namespaces:
            counted |= await self._census(watched, namespace)
        now_held = self._mirror.versions(watched.plural)
        ghosts = {
            uid
            for uid in held.keys() & now_held.keys() - counted.keys()
            if uid not in self._mirror.ghosts
        }
        lost = {
            uid
            for uid, version in counted.items()
            if uid not in now_held or now_held[uid][0] < version
        }
        return ghosts, lost
