"""Who waits for a place, who is next, and who is turned away when there are too many.

Those with the highest priority go first; of these, tenants take turns, so that one with little to ask
does not wait behind all that another has asked; within a tenant it is first come, first served. There
are never more than the bound. Beyond it the newest request of the tenant with the most is turned away,
the one that just came being counted too: a tenant alone may fill the hold, and one with less than an
equal share always gets in. No clock and no loop here. A waiter that leaves is gone at once; one that
comes back because its replica could not be reached is next as it was.
"""

from collections import OrderedDict
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")
MOST_REMEMBERED = 1000


class Turn(NamedTuple):
    """A place in the order of arrival. ``arrived``: monotonic seconds; ``priority``: more is first;
    ``affinity``: how the request begins, as `gateway.affinity` counts it."""

    number: int
    tenant: str
    arrived: float
    priority: int = 0
    affinity: int = 0
    trial: float = 1.0
    """Where it falls between 0 and 1: below the share of a revision on trial that one serves it."""


class FairQueue(Generic[T]):
    """Waiters in the order of their turns, and of each tenant.

    Tenants take turns by start-time fair queueing (Goyal et al., 1996) with every request of the same
    length: ``_tag`` is when, in turns served, a tenant's next request is due.
    """

    __slots__ = ("_newest", "_now", "_of", "_tag", "_waiters")

    def __init__(self) -> None:
        self._waiters: OrderedDict[Turn, T] = OrderedDict()
        self._of: dict[str, OrderedDict[Turn, None]] = {}
        self._tag: dict[str, int] = {}
        self._now = 0
        self._newest = -1

    def __len__(self) -> int:
        return len(self._waiters)

    def enter(self, turn: Turn, waiter: T, bound: int) -> T | None:
        """Wait at the place that ``turn`` has; whoever is turned away for it, or None. That can be
        ``waiter`` itself."""
        tenant = turn.tenant
        if turn.number <= self._newest and self._tag.get(tenant, 0) > 0:
            # It was next once and did not get through: what that cost its tenant is given back.
            self._tag[tenant] -= 1
        elif tenant not in self._of:
            self._tag[tenant] = max(self._tag.get(tenant, 0), self._now)
        self._newest = max(self._newest, turn.number)
        _insert(self._waiters, turn, waiter)
        _insert(self._of.setdefault(tenant, OrderedDict()), turn, None)
        if len(self._waiters) <= bound:
            return None
        return self.leave(self._surplus(tenant))

    def _surplus(self, came: str) -> Turn:
        """The newest of the tenant with the most, of those with the lowest priority; of equals, of
        the one who just came. Otherwise two tenants could go on taking the same place from each
        other."""
        most = max(
            self._of,
            key=lambda tenant: (
                -self._priority(tenant),
                len(self._of[tenant]),
                tenant == came,
            ),
        )
        return next(reversed(self._of[most]))

    def _priority(self, tenant: str) -> int:
        return next(iter(self._of[tenant])).priority

    def leave(self, turn: Turn) -> T | None:
        """Whoever had that turn, no longer waiting."""
        waiter = self._waiters.pop(turn, None)
        if waiter is not None:
            self._forget(turn)
        return waiter

    def _forget(self, turn: Turn) -> None:
        turns = self._of[turn.tenant]
        turns.pop(turn, None)
        if not turns:
            del self._of[turn.tenant]
            if not self._of:
                # Nobody waits: all begin anew, and equal.
                self._tag.clear()
                self._now = 0
            elif len(self._tag) > MOST_REMEMBERED:
                self._tag = {
                    t: at for t, at in self._tag.items() if at > self._now or t in self._of
                }

    def next(self) -> tuple[Turn, T]:
        """The one whose turn it is, who then no longer waits. Raises ``ValueError`` where nobody
        does."""
        tenant = min(
            self._of,
            key=lambda name: (
                -self._priority(name),
                self._tag.get(name, 0),
                next(iter(self._of[name])).number,
            ),
        )
        turn = next(iter(self._of[tenant]))
        self._now = max(self._now, self._tag.get(tenant, 0))
        self._tag[tenant] = self._tag.get(tenant, 0) + 1
        waiter = self._waiters.pop(turn)
        self._forget(turn)
        return turn, waiter

    def first(self) -> Turn | None:
        """The turn that has waited for longest."""
        return next(iter(self._waiters)) if self._waiters else None

    def clear(self) -> list[T]:
        """Everybody, in the order of their arrival; nobody waits any more."""
        waiting = list(self._waiters.values())
        self._waiters.clear()
        self._of.clear()
        return waiting


def _insert(into: "OrderedDict[Turn, T]", turn: Turn, value: T) -> None:
    """In the order of turns; most are the last."""
    late = bool(into) and turn < next(reversed(into))
    into[turn] = value
    if late:
        for later in sorted(key for key in into if key > turn):
            into.move_to_end(later)
