"""An alarm for a stream that falls silent, without a timer set and cleared for each piece."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self


class Watchdog:
    """Calls ``bite`` once when ``touch`` was not called for ``seconds``; ``bit`` tells so."""

    def __init__(self, seconds: float, bite: Callable[[], None]) -> None:
        self.bit = False
        self._seconds = seconds
        self._bite = bite
        self._loop = asyncio.get_running_loop()
        self._touched = self._loop.time()
        self._timer = self._loop.call_later(seconds, self._look)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()

    def touch(self) -> None:
        self._touched = self._loop.time()

    def _look(self) -> None:
        left = self._touched + self._seconds - self._loop.time()
        if left <= 0:
            self.bit = True
            self._bite()
        else:
            self._timer = self._loop.call_later(left, self._look)
