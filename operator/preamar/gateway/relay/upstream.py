"""How a request gets to a replica and an answer back: place, connection, retry, cancellation.

A request that certainly did not reach a replica goes to another one; one whose connection ended
before the answer began does so only if carrying it out twice is harmless, and only while such
retries stay a small part of all requests. Nothing is retried once an answer has begun. Nothing is
sent to a replica that is known to leave, whatever the request had to do there before.
"""

import asyncio
from dataclasses import dataclass
from time import monotonic
from typing import Self

from preamar.gateway.errors import Problem, broken_off, too_slow, unreachable
from preamar.gateway.metering.call import Call
from preamar.gateway.routing.affinity import NONE
from preamar.gateway.routing.queue import ModelQueue
from preamar.gateway.routing.replica import Replica, Slot
from preamar.gateway.wire.connections import ConnectionLost, Exchange, Left, NotSent
from preamar.gateway.wire.http1 import Head

ATTEMPTS = 5
PAUSE_SECONDS = 0.05


class RetryBudget:
    """Retries of requests that may have run: at most a tenth of all requests, and ten to begin
    with."""

    def __init__(self) -> None:
        self._left = 10.0

    def arrived(self) -> None:
        self._left = min(self._left + 0.1, 100.0)

    def take(self) -> bool:
        if self._left < 1:
            return False
        self._left -= 1
        return True


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: until the head of an answer, and between pieces of a stream."""

    answer_seconds: float = 600.0
    stall_seconds: float = 300.0


@dataclass(slots=True)
class Answer:
    """An answer that has begun."""

    head: Head
    exchange: Exchange
    replica: Replica


def request_bytes(replica: Replica, method: str, path: str, extra: bytes, length: int) -> bytes:
    """The head of a request. ``extra`` are whole header lines."""
    return (
        f"{method} {path} HTTP/1.1\r\nHost: ".encode()
        + replica.pool.host
        + b"\r\n"
        + extra
        + f"Content-Length: {length}\r\n\r\n".encode()
    )


class Upstream:
    """Sends calls to replicas of their models."""

    def __init__(self, timeouts: Timeouts) -> None:
        self.timeouts = timeouts
        self._budget = RetryBudget()

    def visit(self, queue: ModelQueue, call: Call, affinity: int = NONE) -> "Visit":
        """A visit to the model of ``queue``, for a ``with`` block: it waits in the hold when ``send``
        is first called. Leaving the block gives the place back and closes an answer that was not read
        to its end, which cancels the work behind it."""
        self._budget.arrived()
        return Visit(self, queue, call, affinity)

    def may_repeat(self) -> bool:
        return self._budget.take()


class Visit:
    """One request's way to a replica; several exchanges on one place are fine."""

    def __init__(self, upstream: Upstream, queue: ModelQueue, call: Call, affinity: int) -> None:
        self._upstream = upstream
        self._queue = queue
        self._call = call
        self._turn = queue.turn(call.caller.tenant, call.priority, affinity)
        self._avoid: Replica | None = None
        self._slot: Slot | None = None
        self._most: int | None = None
        self._exchange: Exchange | None = None
        self._attempts = 0
        self._gave_up = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    async def enter(self) -> Replica:
        """The replica that this request is on, after waiting for one."""
        if self._slot is None:
            cold = not self._queue.awake
            self._slot = await self._queue.enter(self._turn, self._avoid)
            self._call.entered(self._slot)
            if self._most is not None:
                self._slot.expect(self._most)
            if cold:
                self._call.woke()
        return self._slot.replica

    async def send(
        self, method: str, path: str, extra: bytes, body: bytes, *, repeatable: bool
    ) -> Answer:
        """Send and wait for the answer's head. Raises ``Problem``."""
        while True:
            replica = await self.enter()
            if answer := await self._try(replica, method, path, extra, body, repeatable):
                return answer

    async def _try(
        self, replica: Replica, method: str, path: str, extra: bytes, body: bytes, repeatable: bool
    ) -> Answer | None:
        name = self._queue.model.name
        head = request_bytes(replica, method, path, extra + self._call.time_left(), len(body))
        self._attempts += 1
        timer: asyncio.TimerHandle | None = None
        try:
            self._exchange = exchange = await replica.pool.take()
            loop, patience = asyncio.get_running_loop(), self._upstream.timeouts.answer_seconds
            # Not ``asyncio.timeout``, whose way through a task costs as much as the rest of this.
            timer = loop.call_later(patience, self._give_up, exchange)
            answer = await exchange.send(head, body)
        except Left:
            # What it may have done there is done; the rest waits as if it had come just now.
            self._attempts -= 1
            self._drop(reached=True)
            self._turn = self._turn._replace(arrived=monotonic())
            return None
        except NotSent:
            self._drop(reached=False)
            problem: Problem = unreachable(name)
        except ConnectionLost:
            if self._gave_up:
                raise too_slow(name) from None
            self.failed()
            self._call.lost()
            self._drop(reached=True)
            problem = broken_off(name, stopped=not replica.usable)
            if not self._may_ask_again(replica, repeatable):
                raise problem from None
        else:
            if not self._elsewhere(replica, answer.status, repeatable):
                return Answer(answer, exchange, replica)
            self._call.lost()
            self._drop(reached=True)
            problem = broken_off(name, stopped=True)
        finally:
            if timer is not None:
                timer.cancel()
        if self._attempts >= ATTEMPTS:
            raise problem
        await self._queue.pause(PAUSE_SECONDS * (self._attempts - 1))
        return None

    def _give_up(self, exchange: Exchange) -> None:
        self._gave_up = True
        exchange.abort()

    def _may_ask_again(self, replica: Replica, repeatable: bool) -> bool:
        """Whether another replica may be asked what this one may have done already. Of a revision
        on trial the one before always is, as it would have been without a trial."""
        if replica.address.canary:
            self._avoid = replica
            return True
        return repeatable and self._upstream.may_repeat()

    def _elsewhere(self, replica: Replica, status: int, repeatable: bool) -> bool:
        """Whether a request that got this status should be asked of another replica: where this one
        stops and so knows no models any more, and once where it failed and there is another."""
        assert self._slot is not None
        if replica.usable:
            self._slot.good = status < 500
        if status < 400 or not (repeatable or (replica.address.canary and status >= 500)):
            return False
        if replica.usable:
            if status < 500 or self._avoid is not None or not self._queue.others(replica):
                return False
            self._avoid = replica
            if replica.address.canary:
                return True  # the share of a revision on trial is the bound
        return self._upstream.may_repeat()

    def again(self) -> bool:
        """Whether a request of which nobody has seen anything may be sent once more; its place is
        given back then."""
        if self._attempts >= ATTEMPTS or not self._upstream.may_repeat():
            return False
        self._drop(reached=True)
        return True

    def _drop(self, *, reached: bool) -> None:
        if self._exchange is not None:
            self._exchange.abort()
            self._exchange = None
        if self._slot is not None:
            self._slot.release(reached=reached)
            self._slot = None

    def expect(self, tokens: int) -> None:
        """The answer will have this many output tokens at most."""
        self._most = tokens
        if self._slot is not None:
            self._slot.expect(tokens)

    def made(self, tokens: int) -> None:
        """This many output tokens have come so far."""
        if self._slot is not None:
            self._slot.made(tokens)

    def answered(self) -> None:
        """The replica has done what was asked of it, and how long that took is worth knowing."""
        if self._slot is not None:
            self._slot.answered = True

    def failed(self) -> None:
        """The replica failed on what was asked of it."""
        if self._slot is not None:
            self._slot.good = False

    def done(self) -> None:
        """The answer was read to its end: its connection may serve others."""
        self._exchange = None

    def leave(self) -> None:
        self._drop(reached=True)
