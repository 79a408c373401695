"""Which services stand still rather than follow? Asked once a minute each, beside the event loop.

To replay half an hour takes tens of milliseconds, so never within a pass; a pass uses the last
answer. Losing it costs one minute of following.
"""

import asyncio
import time
from dataclasses import dataclass

from preamar.core.serving.sizing.demand_size import Aim, goal_of
from preamar.core.serving.sizing.static_size import EVERY_SECONDS, StaticSize, habit
from preamar.protocol.demand import Demand


@dataclass(slots=True)
class _Kept:
    at: float
    habit: StaticSize | None = None


class Habits:
    """The last answer for each service, by ``namespace/name``."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._busy: set[asyncio.Task[None]] = set()
        self._one = asyncio.Semaphore(1)

    def of(
        self, service: str, aim: Aim, demand: Demand, cold_start: float | None, most: int
    ) -> StaticSize | None:
        """The habit, at most about a minute old; asks anew when it is older."""
        goal = goal_of(aim, demand, cold_start)
        if goal is None or not demand.arrivals:
            self._kept.pop(service, None)
            return None
        now = time.monotonic()
        kept = self._kept.setdefault(service, _Kept(now))
        if now - kept.at >= EVERY_SECONDS:
            kept.at = now

            async def ask() -> None:
                async with self._one:
                    kept.habit = await asyncio.to_thread(habit, goal, demand.arrivals, most)

            task = asyncio.get_running_loop().create_task(ask())
            self._busy.add(task)
            task.add_done_callback(self._busy.discard)
        return kept.habit

    def last(self, service: str) -> StaticSize | None:
        """The last answer, without asking anew; from any thread."""
        kept = self._kept.get(service)
        return kept.habit if kept else None

    def forget(self, service: str) -> None:
        """It is gone."""
        self._kept.pop(service, None)
