"""Reads ahead of the training loop, in a thread, and says how long the loop had to wait.

At most `depth` things are ready at once, so memory is bounded however far storage is ahead. An
error in reading is raised where the thing it belongs to is asked for: what was read before it is
sound and is used.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
_TURN_SECONDS = 0.2


class ReadAhead(Generic[T]):
    """The things that `make()` yields, one after the other."""

    def __init__(self, make: Callable[[], Iterator[T]], depth: int) -> None:
        self._ready: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(depth)
        self._stop = threading.Event()
        self.waited = 0.0
        self._thread = threading.Thread(target=self._read, args=(make,), daemon=True, name="ahead")
        self._thread.start()

    def next(self) -> T:
        """The next thing; the error that came instead, or StopIteration after the last."""
        begun = time.monotonic()
        thing, error = self._ready.get()
        self.waited += time.monotonic() - begun
        if error is not None:
            self._put(None, error)  # whoever asks again is told again
            raise error
        return thing

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _read(self, make: Callable[[], Iterator[T]]) -> None:
        error: BaseException = StopIteration()
        try:
            for thing in make():
                if not self._put(thing, None):
                    return
        except BaseException as found:  # noqa: BLE001 - whatever it is, the loop must hear of it
            error = found
        self._put(None, error)

    def _put(self, thing: T | None, error: BaseException | None) -> bool:
        while not self._stop.is_set():
            try:
                self._ready.put((thing, error), timeout=_TURN_SECONDS)
            except queue.Full:
                continue
            return True
        return False
