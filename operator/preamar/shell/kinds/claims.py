"""Which volumes do resources name? Read when a pass needs them, remembered for a few seconds.

PersistentVolumeClaims are the user's and may be many: watching all of them would cost more than
reading the few that are named. One that is missing is looked for again sooner.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterable

from preamar.cluster.port import Cluster
from preamar.core.objects import ClaimView
from preamar.core.plan import Ref

FOUND_SECONDS, MISSING_SECONDS = 10.0, 2.0
REMEMBERED = 4096


class Claims:
    """Reads claims by name."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._known: OrderedDict[tuple[str, str], tuple[float, ClaimView | None]] = OrderedDict()

    async def named(self, namespace: str, names: Iterable[str]) -> dict[str, ClaimView]:
        """Those of the claims that exist. Raises ``ClusterError``."""
        wanted = tuple(names)
        found = await asyncio.gather(*(self._one(namespace, name) for name in wanted))
        return {view.name: view for view in found if view is not None}

    async def _one(self, namespace: str, name: str) -> ClaimView | None:
        place = (namespace, name)
        until, known = self._known.get(place, (0.0, None))
        if time.monotonic() < until:
            return known
        body = await self._cluster.read(Ref("v1", "PersistentVolumeClaim", namespace, name))
        view = ClaimView.of(body) if body else None
        settled = view is not None and view.phase == "Bound"
        seconds = FOUND_SECONDS if settled else MISSING_SECONDS
        self._known[place] = (time.monotonic() + seconds, view)
        self._known.move_to_end(place)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return view
