"""Does training wait for data?

A step lasts as long as its slowest rank, so of each step the longest wait of any rank counts. The
ratio is of the last half-minute: time waited over time of steps, checkpoints left out.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence

WINDOW_SECONDS = 30.0
# The first step fills the pipeline and compiles kernels: it says nothing of the others.
LEAST_STEPS = 3


class Waits:
    def __init__(self, rank: int, ranks: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rank, self._ranks, self._clock = rank, ranks, clock
        self._steps: deque[tuple[float, float, float]] = deque()  # end, seconds, waited
        self._last: float | None = None

    def mine(self, waited: float) -> list[float]:
        """This rank's wait in its own place of a list: the lists of all ranks are then added up."""
        return [waited if rank == self._rank else 0.0 for rank in range(self._ranks)]

    def ratio(self, waited: Sequence[float]) -> float | None:
        """The share of time that steps waited, from 0 to 1, with the step that ended now."""
        now = self._clock()
        if self._last is not None:
            self._steps.append((now, now - self._last, max(waited)))
        self._last = now
        while (
            self._steps
            and now - self._steps[0][0] > WINDOW_SECONDS
            and (len(self._steps) > LEAST_STEPS)
        ):
            self._steps.popleft()
        if len(self._steps) < LEAST_STEPS:
            return None
        seconds = sum(each[1] for each in self._steps)
        return min(1.0, sum(each[2] for each in self._steps) / seconds) if seconds > 0 else None

    def paused(self) -> None:
        """What came between two steps was no step."""
        self._last = self._clock()
