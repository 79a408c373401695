"""Who waits for a place, and who is next: first come, first served, and never more than the bound.

No clock and no loop here. A waiter that leaves is gone at once; a waiter that comes back because
its replica could not be reached keeps the turn it had.
"""

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class Hold(Generic[T]):
    """An ordered set of waiters, each known by a turn number."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: OrderedDict[int, T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiters)

    def enter(self, turn: int, waiter: T, bound: int) -> bool:
        """Wait at the place that ``turn`` has; False when ``bound`` already wait."""
        if len(self._waiters) >= bound:
            return False
        late = bool(self._waiters) and turn < next(reversed(self._waiters))
        self._waiters[turn] = waiter
        if late:
            for later in sorted(key for key in self._waiters if key > turn):
                self._waiters.move_to_end(later)
        return True

    def leave(self, turn: int) -> T | None:
        """Whoever had that turn, no longer waiting."""
        return self._waiters.pop(turn, None)

    def next(self) -> T | None:
        """The first in line, who then no longer waits."""
        return self._waiters.popitem(last=False)[1] if self._waiters else None

    def first(self) -> int | None:
        """The turn of the first in line."""
        return next(iter(self._waiters)) if self._waiters else None

    def clear(self) -> list[T]:
        """Everybody, in order; nobody waits any more."""
        waiting = list(self._waiters.values())
        self._waiters.clear()
        return waiting
