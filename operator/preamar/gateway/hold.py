"""Who waits for a place, who is next, and who is turned away when there are too many.

First come, first served, and never more than the bound. Beyond it the newest request of the tenant
with the most is turned away, the one that just came being counted too: a tenant alone may fill the
hold, and one with less than an equal share always gets in. No clock and no loop here. A waiter that
leaves is gone at once; one that comes back because its replica could not be reached keeps its turn.
"""

from collections import OrderedDict
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Turn(NamedTuple):
    """A place in the order of arrival. ``arrived``: monotonic seconds."""

    number: int
    tenant: str
    arrived: float


class Hold(Generic[T]):
    """Waiters in the order of their turns."""

    __slots__ = ("_of", "_waiters")

    def __init__(self) -> None:
        self._waiters: OrderedDict[Turn, T] = OrderedDict()
        self._of: dict[str, set[Turn]] = {}

    def __len__(self) -> int:
        return len(self._waiters)

    def enter(self, turn: Turn, waiter: T, bound: int) -> T | None:
        """Wait at the place that ``turn`` has; whoever is turned away for it, or None. That can be
        ``waiter`` itself."""
        late = bool(self._waiters) and turn < next(reversed(self._waiters))
        self._waiters[turn] = waiter
        self._of.setdefault(turn.tenant, set()).add(turn)
        if late:
            for later in sorted(key for key in self._waiters if key > turn):
                self._waiters.move_to_end(later)
        if len(self._waiters) <= bound:
            return None
        return self.leave(self._surplus(turn.tenant))

    def _surplus(self, came: str) -> Turn:
        """The newest of the tenant with the most; of equals, of the one who just came. Otherwise
        two tenants could go on taking the same place from each other."""
        most = max(self._of, key=lambda tenant: (len(self._of[tenant]), tenant == came))
        return max(self._of[most])

    def leave(self, turn: Turn) -> T | None:
        """Whoever had that turn, no longer waiting."""
        waiter = self._waiters.pop(turn, None)
        if waiter is not None:
            self._forget(turn)
        return waiter

    def _forget(self, turn: Turn) -> None:
        turns = self._of[turn.tenant]
        turns.discard(turn)
        if not turns:
            del self._of[turn.tenant]

    def next(self) -> T | None:
        """The first in line, who then no longer waits."""
        if not self._waiters:
            return None
        turn, waiter = self._waiters.popitem(last=False)
        self._forget(turn)
        return waiter

    def first(self) -> Turn | None:
        """The turn of the first in line."""
        return next(iter(self._waiters)) if self._waiters else None

    def clear(self) -> list[T]:
        """Everybody, in order; nobody waits any more."""
        waiting = list(self._waiters.values())
        self._waiters.clear()
        self._of.clear()
        return waiting
