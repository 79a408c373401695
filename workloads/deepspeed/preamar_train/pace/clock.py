"""Where did a rank's time go? Seconds by what it did, since its process began.

`saved` is that part of `steps` which a verified checkpoint holds: what is above it is lost when
the attempt fails now.
"""

import math
import os
import time
from pathlib import Path

USES = {
    "Starting": "startup",
    "Training": "steps",
    "Saving": "checkpoint",
    "Evaluating": "other",
    "Exporting": "other",
    "Stopped": "other",
    "Done": "other",
}
_REMEMBERED = 64


def age() -> float:
    """Seconds since this process began, the interpreter and its imports included."""
    try:
        words = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        begun = int(words[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - begun)
    except (OSError, ValueError, IndexError):
        return 0.0


class Clock:
    def __init__(self) -> None:
        self._seconds = dict.fromkeys(("startup", "steps", "checkpoint", "other", "saved"), 0.0)
        self._seconds["startup"] = age()
        self._use, self._since = "startup", time.monotonic()
        self._begun = self._since
        self._saves: list[float] = []

    def turn(self, state: str) -> None:
        """Another state begins; one that is unknown changes nothing."""
        self._settle()
        use = USES.get(state, self._use)
        if use == self._use:
            return
        if self._use == "checkpoint":
            self._saves = [*self._saves[1 - _REMEMBERED :], self._since - self._begun]
        self._use, self._begun = use, self._since

    def saved(self) -> None:
        """All steps so far are in a verified checkpoint."""
        self._settle()
        self._seconds["saved"] = self._seconds["steps"]

    def seconds(self) -> dict[str, float]:
        self._settle()
        return {use: round(value, 3) for use, value in self._seconds.items()}

    def save_seconds(self) -> float | None:
        """The 95th percentile of the last saves (nearest rank), None before the first."""
        if not self._saves:
            return None
        return sorted(self._saves)[math.ceil(0.95 * len(self._saves)) - 1]

    def _settle(self) -> None:
        now = time.monotonic()
        self._seconds[self._use] += now - self._since
        self._since = now
