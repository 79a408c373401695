"""One pod that serves a model, what it carries, and the right to send it one request.

However a request ends, its place is given back exactly once.
"""

from collections.abc import Callable
from time import monotonic
from zlib import crc32

from preamar.gateway.discovery.resources import Address
from preamar.gateway.routing.service_time import ServiceTime
from preamar.gateway.wire.connections import Pool

CONNECT_SECONDS = 2.0


class Replica:
    """One pod: its pool of connections, and how it is doing."""

    __slots__ = (
        "_shared", "_shared_at", "address", "config", "ejected_until", "errors", "in_flight", "misses", "pool",
        "seed", "tokens_left", "usable",
    )  # fmt: skip

    def __init__(self, address: Address) -> None:
        self.address = address
        self.pool = Pool(address.ip, address.http, CONNECT_SECONDS)
        self.in_flight = 0
        self.tokens_left = 0
        # In a row: times that it could not be reached, and requests that it failed on.
        self.misses = 0
        self.errors = 0
        self.ejected_until = 0.0
        self.usable = True
        self.seed = crc32((address.uid or address.ip).encode())
        # What the model server says of its model, read once per pod by whoever needs it first.
        self.config: object | None = None
        self._shared = 0.0
        self._shared_at = monotonic()

    def share(self) -> float:
        """Seconds that a request would have had this replica for itself if it had been here since
        the beginning, sharing it equally with all that were: what one had is the difference."""
        now = monotonic()
        if self.in_flight:
            self._shared += (now - self._shared_at) / self.in_flight
        self._shared_at = now
        return self._shared

    def carry(self, more: int) -> None:
        """It carries one request more, or one less."""
        self.share()
        self.in_flight += more


class Slot:
    """The right to send one request to one replica. It notes what the request takes there:
    ``answered`` is set when it got its whole answer, ``good`` to whether the replica took it or
    failed on it."""

    __slots__ = (
        "_began",
        "_first",
        "_had",
        "_left",
        "_made",
        "_most",
        "_open",
        "_released",
        "_share",
        "_worked",
        "answered",
        "good",
        "replica",
    )

    def __init__(
        self,
        replica: Replica,
        worked: ServiceTime,
        tokens: int,
        released: Callable[["Slot", bool], None],
    ) -> None:
        self._worked = worked
        self._released = released
        self._open = True
        self._began = monotonic()
        self._made = self._left = 0
        self._first: float | None = None
        self.answered = False
        self.good: bool | None = None
        self.replica = replica
        self._had: float | None = None
        replica.carry(1)
        self._share = replica.share()
        self.expect(tokens)

    @property
    def seconds(self) -> float:
        """Until the first token of a text, else until now."""
        return self._first if self._first is not None else monotonic() - self._began

    def had(self) -> float:
        """Seconds of its replica that this request has had, its equal share of them."""
        return self.replica.share() - self._share if self._had is None else self._had

    def expect(self, tokens: int) -> None:
        """The answer will have this many output tokens at most."""
        self._most = tokens
        self._note()

    def made(self, tokens: int) -> None:
        """This many output tokens have come so far."""
        if tokens and not self._made:
            self._first = monotonic() - self._began
            self._worked.began_to_answer(self._first)
        self._made = tokens
        self._note()

    def _note(self) -> None:
        # More may come than was expected, and a request that runs has at least one left.
        left = max(1, self._most - self._made) if self._most else 0
        self.replica.tokens_left += left - self._left
        self._left = left

    def release(self, *, reached: bool = True) -> None:
        """Give the place back; ``reached``: whether the replica could be connected to. A second
        time does nothing."""
        if self._open:
            self._open = False
            self._had = self.had()
            self.replica.tokens_left -= self._left
            if self.answered:
                self._worked.answered(monotonic() - self._began)
            self._released(self, reached)
