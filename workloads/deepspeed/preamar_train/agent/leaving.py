"""Has this pod done its work? `GET /ended` waits until it has, and says with which exit code.

Kubernetes tells of a container's end a second or more after it. Whoever waits here hears of it at
once; the pod leaves when they have been answered, and half a second later at the latest.
"""

import json
import threading

ANSWERED_SECONDS = 0.5
WAITS_SECONDS = 20.0
MOST_WAITING = 8


class Leaving:
    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._code: int | None = None
        self._waiting = 0

    def ended(self, code: int) -> None:
        """Nothing of this pod works any more. Returns when those who wait have been answered."""
        with self._changed:
            self._code = code
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._waiting, ANSWERED_SECONDS)

    def begin(self) -> bool:
        """Somebody asks; False where too many do already. Each `begin` needs its `answered`."""
        with self._changed:
            if self._waiting >= MOST_WAITING:
                return False
            self._waiting += 1
            return True

    def answer(self, limit: float = WAITS_SECONDS) -> bytes:
        """JSON: the exit code, null while there is none after `limit` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._code is not None, limit)
            return json.dumps({"ended": self._code}).encode()

    def answered(self) -> None:
        with self._changed:
            self._waiting -= 1
            self._changed.notify_all()
