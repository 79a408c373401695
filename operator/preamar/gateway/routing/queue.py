"""Who may send now: each model's queue of waiting requests, its replicas, and what they carry.

A request gets a ``Slot`` on a replica at once if one has room, else it waits in the model's hold
and is handed a place the moment a replica turns ready or another request ends. Nothing polls but
for replicas that start while somebody waits for the first one (``readiness``).
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from random import random
from time import monotonic

from preamar.gateway.discovery.resources import Address, ModelResource
from preamar.gateway.errors import Problem, gone, held_too_long, hold_full, stalled
from preamar.gateway.routing.affinity import NONE
from preamar.gateway.routing.balancer import ejection, pick
from preamar.gateway.routing.canary_stats import CanaryStats
from preamar.gateway.routing.fair_queue import FairQueue, Turn
from preamar.gateway.routing.readiness import Readiness
from preamar.gateway.routing.replica import Replica, Slot
from preamar.gateway.routing.retry_after import BUSY_SECONDS, time_left
from preamar.gateway.routing.service_time import ServiceTime
from preamar.gateway.settings import UNBOUNDED_TOKENS

AGAIN_SECONDS = 1.0


class ModelQueue:
    """One model: those who wait and those who serve."""

    def __init__(self, model: ModelResource, on_queue: Callable[["ModelQueue"], None]) -> None:
        self.model = model
        self.hold: FairQueue[asyncio.Future[Slot]] = FairQueue()
        self.replicas: dict[Address, Replica] = {}
        self.leaving: set[Replica] = set()
        self.arrived = 0
        self.worked = ServiceTime()
        self.tried: CanaryStats | None = None
        self._between = 0
        self._waking_since: float | None = None
        self._woken_at = -AGAIN_SECONDS
        self.begins = False
        """Whether this very change is the first call for a model that sleeps."""
        self._on_queue = on_queue
        self._turns = count()
        self._known: dict[Address, bool] = {}
        self._readiness = Readiness(lambda: bool(self.hold) and not self.awake, self._follow_slices)

    @property
    def running(self) -> int:
        """Requests that a replica has, those of leaving replicas included."""
        return sum(r.in_flight for r in self.replicas.values()) + sum(
            r.in_flight for r in self.leaving
        )

    @property
    def awake(self) -> bool:
        """Whether any replica takes requests."""
        return bool(self.replicas)

    @property
    def ready(self) -> bool:
        """Whether a request would be answered: now, or after waking. Looking wakes nothing."""
        return self.awake or (self.model.loaded and self.model.stalled is None)

    @property
    def oldest_wait(self) -> float:
        """Seconds that the first in line has waited, 0 where nobody waits."""
        first = self.hold.first()
        return 0.0 if first is None else monotonic() - first.arrived

    @property
    def queued(self) -> int:
        """Requests that want a replica and have none."""
        return len(self.hold) + self._between

    @property
    def retry_after(self) -> int:
        """Seconds until asking again may help."""
        if self.awake:
            return BUSY_SECONDS
        since = self._waking_since
        waited = 0.0 if since is None else monotonic() - since
        return time_left(self.model.cold_start_seconds, waited)

    def turn(self, tenant: str, priority: int = 0, affinity: int = NONE) -> Turn:
        """A place in the order of arrival, kept over retries."""
        self.arrived += 1
        lot = random() if self.model.trial else 1.0  # noqa: S311
        return Turn(next(self._turns), tenant, monotonic(), priority, affinity, lot)

    def others(self, replica: Replica) -> bool:
        """Whether there is another replica that takes requests."""
        return any(other is not replica for other in self.replicas.values())

    async def pause(self, seconds: float) -> None:
        """Wait before another try. Who does so is still queued: a model that wakes for nobody else
        must not be sent back to sleep."""
        self._between += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self._between -= 1

    async def enter(self, turn: Turn, avoid: Replica | None = None) -> Slot:
        """A place on a replica, on ``avoid`` only where no other is free. Raises ``Problem`` when the hold is full, when another tenant's
        request is to have the place in it, when the model's ``hold.maxSeconds`` have passed since
        the arrival, or when the model cannot start or is deleted meanwhile.
        Nobody gets a place on a replica that left before they could use it."""
        while not (slot := await self._entered(turn, avoid)).replica.usable:
            slot.release()
        return slot

    async def _entered(self, turn: Turn, avoid: Replica | None) -> Slot:
        """Whatever place is free next."""
        if not self.hold and (replica := self._free(turn.affinity, avoid, turn)) is not None:
            return self._slot(replica)
        if not self.awake and self.model.stalled is not None:
            raise stalled(self.model.name, self.model.stalled)
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Slot] = loop.create_future()
        turned_away = self.hold.enter(turn, waiter, self.model.hold_requests)
        if turned_away is waiter:
            raise hold_full(self.model.name, self.retry_after)
        if turned_away is not None and not turned_away.done():
            turned_away.set_exception(hold_full(self.model.name, self.retry_after))
        waiting = len(self.hold)
        if waiting == 1:
            self._queue_changed()
        elif waiting & (waiting - 1) == 0:
            # It has doubled: a burst is told as it comes, at the cost of few reports.
            self._on_queue(self)
        left = turn.arrived + self.model.hold_seconds - monotonic()
        timer = loop.call_later(max(0.0, left), self._expire, waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                waiter.result().release()
            raise
        finally:
            timer.cancel()
            if self.hold.leave(turn) is not None and not self.hold:
                self._queue_changed()

    def _expire(self, waiter: asyncio.Future[Slot]) -> None:
        if not waiter.done():
            waiter.set_exception(held_too_long(self.model.name, self.retry_after))

    def _queue_changed(self) -> None:
        """Somebody is the first to wait, or nobody waits any more."""
        self._readiness.ask(self.model.name)
        self.begins = self._follow_wake()
        self._on_queue(self)
        self.begins = False

    def _follow_wake(self) -> bool:
        """Note since when it is to wake; whether that is now. Callers who come and go all the time
        are one wake in a second."""
        if self.awake or not self.hold:
            self._waking_since = None
        elif self._waking_since is None:
            now = self._waking_since = monotonic()
            if now - self._woken_at >= AGAIN_SECONDS:
                self._woken_at = now
                return True
        return False

    def _slot(self, replica: Replica) -> Slot:
        tokens = UNBOUNDED_TOKENS if self.model.task == "Generate" else 0
        return Slot(replica, self.worked, tokens, self.released)

    def _free(
        self, affinity: int = NONE, avoid: Replica | None = None, turn: Turn | None = None
    ) -> Replica | None:
        if self.tried is not None or any(a.canary for a in self.replicas):
            meant = self._meant(turn, avoid)
            return pick(meant, self.model.room, monotonic(), affinity, avoid)
        return pick(self.replicas.values(), self.model.room, monotonic(), affinity, avoid)

    def _meant(self, turn: Turn | None, avoid: Replica | None) -> list[Replica]:
        """The replicas of the revision that a request is meant for. Nobody has to wait for the one
        on trial, and who was failed by it is not sent there again."""
        old = [r for r in self.replicas.values() if not r.address.canary]
        if turn is None or turn.trial >= self.model.share or (avoid and avoid.address.canary):
            return old
        now = monotonic()
        new = [r for r in self.replicas.values() if r.address.canary]
        return new if pick(new, self.model.room, now) is not None else old

    def pump(self) -> None:
        """Hand places to those who wait while there are any."""
        emptied = False
        while self.hold and (replica := self._free()) is not None:
            turn, waiter = self.hold.next()
            if not waiter.done():
                # There is room somewhere; where this request belongs may be elsewhere.
                waiter.set_result(self._slot(self._free(turn.affinity, None, turn) or replica))
            emptied = not self.hold
        if emptied:
            self._queue_changed()

    def released(self, slot: Slot, reached: bool) -> None:
        """A place was given back; ``reached``: whether its replica could be connected to."""
        replica = slot.replica
        replica.carry(-1)
        if self.tried is not None:
            self.tried.note(slot, slot.seconds, reached=reached)
        if replica in self.leaving and not replica.in_flight:
            self.leaving.discard(replica)
        if not reached:
            replica.misses += 1
            self._judge(replica)
        elif slot.good is False:
            replica.misses = 0
            replica.errors += 1
            self._judge(replica)
        elif slot.good:
            replica.misses = replica.errors = 0
            replica.ejected_until = 0.0
        if self.hold:
            self.pump()

    def _judge(self, replica: Replica) -> None:
        """Leave it out for a while if it has missed or failed too often."""
        now, others = monotonic(), self.replicas.values()
        out = sum(other.ejected_until > now for other in others if other is not replica)
        pause = ejection(replica.misses, replica.errors, out, len(others))
        if pause:
            replica.ejected_until = now + pause
            # A little later than its return, so that the clock has passed it for sure.
            asyncio.get_running_loop().call_later(pause + 0.01, self.pump)

    def update(self, known: Mapping[Address, bool], starting: Iterable[Address] = ()) -> None:
        """Follow the EndpointSlices; replicas that leave keep what they carry and get no more.
        Those that are ``starting`` are asked themselves while somebody waits."""
        self._known = dict(known)
        self._readiness.follow(starting)
        self._follow_slices()
        self._readiness.ask(self.model.name)

    def _follow_slices(self) -> None:
        known = self._known | dict.fromkeys(self._readiness.believed, True)
        for address in [a for a in self.replicas if not known.get(a)]:
            replica = self.replicas.pop(address)
            replica.usable = False
            replica.pool.retire()
            if replica.in_flight:
                self.leaving.add(replica)
        for address, usable in known.items():
            if usable and address not in self.replicas:
                self.replicas[address] = Replica(address)
        if self.hold:
            self.pump()
        if self.hold and not self.awake and self.model.stalled is not None:
            self.refuse(stalled(self.model.name, self.model.stalled))
        self._follow_wake()

    def refuse(self, problem: Problem) -> None:
        """Nobody who waits will be served."""
        waiting = self.hold.clear()
        for waiter in waiting:
            if not waiter.done():
                waiter.set_exception(problem)
        if waiting:
            self._queue_changed()

    def follow_trial(self) -> None:
        """Count anew for each revision on trial, and not at all without one."""
        revision = self.model.trial
        if revision is None:
            self.tried = None
        elif self.tried is None or self.tried.revision != revision:
            self.tried = CanaryStats(revision)

    def close(self) -> None:
        """The model is gone."""
        self.refuse(gone(self.model.name))
        self.update({})
