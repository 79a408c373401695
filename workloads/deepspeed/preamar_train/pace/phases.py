"""Where does the time from a process's begin to its first step go?"""

import time

from preamar_train.pace.clock import age


class Phases:
    """Seconds by name, in order; the first mark counts from the begin of the process."""

    def __init__(self) -> None:
        self._since = time.monotonic() - age()
        self._seconds: dict[str, float] = {}

    def mark(self, name: str) -> None:
        """What was done since the last mark had this name."""
        now = time.monotonic()
        self._seconds[name] = self._seconds.get(name, 0.0) + now - self._since
        self._since = now

    def __str__(self) -> str:
        return ", ".join(f"{name} {seconds:.3f} s" for name, seconds in self._seconds.items())
