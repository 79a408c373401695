"""Does a revision on trial answer what the one before would have? Asked of a few, afterwards.

Where the resource says that both are made of the same model, a few of its answers are asked for once
more, of a replica of the one before, when the caller has his. It is nobody's request: neither metered
nor charged, no demand, no place on a replica. So it is rare, one at a time for each model, never while
anybody waits, of awake replicas with room to spare alone; and in any doubt it is dropped.

What is too far apart is asked again: a model that differs from itself as much tells nothing.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import NamedTuple

from preamar.gateway.metering.call import Call
from preamar.gateway.metering.tokens import Reader
from preamar.gateway.relay import tensors
from preamar.gateway.relay.upstream import request_bytes
from preamar.gateway.routing.balancer import pick
from preamar.gateway.routing.canary_stats import COMPARED_SECONDS, CanaryStats
from preamar.gateway.routing.queue import ModelQueue
from preamar.gateway.routing.replica import Replica
from preamar.gateway.wire.compression import unpacked
from preamar.gateway.wire.connections import ConnectionLost, CutShort, NotSent
from preamar.gateway.wire.http1 import Garbled, Head
from preamar.protocol import answer_distance

log = logging.getLogger(__name__)
MOST_ASKED, MOST_ANSWERED = 1 << 20, 1 << 18
"""Bytes. Reading and comparing the largest answer holds everybody up for a few milliseconds."""
AT_ONCE = 2
LEAST_PAUSE_SECONDS, PAUSES = 1.0, 4
"""After each comparison: four times as long as it took, so that a fifth of one caller is the most."""
ONE_OF = 2
"""So many answers one is compared at most: since that may take two questions, there are no more of
these than rows in the ledger, which is what ``engines`` relies on."""


class Question(NamedTuple):
    """What was asked of a revision on trial, and ``got`` of it, in so many bytes; ``ask`` asks another
    replica. Both raise ``ValueError`` where that cannot be compared."""

    asked: int
    answered: int
    ask: Callable[[Replica], Awaitable[answer_distance.Answer]]
    got: Callable[[], answer_distance.Answer]


class Comparer:
    """Of one gateway."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def wants(self, queue: ModelQueue, replica: Replica, size: int) -> bool:
        """Whether an answer of that replica to so many bytes may be compared."""
        tried = queue.tried
        return (
            tried is not None
            and queue.model.tolerance is not None
            and replica.address.canary
            and size <= MOST_ASKED
            and len(self._tasks) < AT_ONCE
            and tried.next_at <= monotonic()
            and tried.new.requests - tried.asked_at >= ONE_OF
            and not queue.queued
        )

    def offer(self, queue: ModelQueue, replica: Replica, question: Question) -> None:
        """An answer has reached its caller; it is compared if nothing speaks against it."""
        fits = 0 < question.answered <= MOST_ANSWERED
        if not fits or not self.wants(queue, replica, question.asked):
            return
        tried, now = queue.tried, monotonic()
        before = [r for r in queue.replicas.values() if not r.address.canary]
        other = pick(before, max(1, queue.model.room // 2), now)
        if tried is None or other is None:
            return
        tried.asked_at, tried.next_at = tried.new.requests, now + COMPARED_SECONDS
        task = asyncio.get_running_loop().create_task(self._compare(queue, tried, other, question))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _compare(
        self, queue: ModelQueue, tried: CanaryStats, other: Replica, question: Question
    ) -> None:
        began, task, tolerance = monotonic(), queue.model.task, queue.model.tolerance
        assert tolerance is not None
        try:
            got = question.got()  # first: what cannot be compared is not asked
            async with asyncio.timeout(COMPARED_SECONDS):
                wanted = await question.ask(other)
                difference = answer_distance.error(task, wanted, got) / tolerance
                if difference > 1:
                    again = await question.ask(other)
                    if answer_distance.error(task, wanted, again) > tolerance:
                        return
            tried.differs(difference)
        except (NotSent, ConnectionLost, CutShort, Garbled, TimeoutError, ValueError) as error:
            log.debug("an answer of %s was not compared: %s", queue.model.name, error)
        except Exception:
            log.exception("an answer of %s could not be compared", queue.model.name)
        finally:
            now = monotonic()
            tried.next_at = now + max(LEAST_PAUSE_SECONDS, PAUSES * (now - began))

    async def close(self) -> None:
        """Nothing more is asked."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class ShadowReader:
    """Reads along for ``inner`` and keeps what passes, as far as it is small."""

    def __init__(self, inner: Reader) -> None:
        self._inner = inner
        self._kept: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> None:
        self._inner.feed(data)
        self._size += len(data)
        if self._size > MOST_ANSWERED:
            self._kept.clear()
        else:
            self._kept.append(data)

    def tell(self, call: Call) -> None:
        self._inner.tell(call)

    @property
    def data(self) -> bytes:
        """All of it; b"" of what is too large."""
        return b"".join(self._kept)


def over_http(path: str, extra: bytes, body: bytes, head: Head, data: bytes) -> Question:
    """A question that was asked at ``path`` with these header lines, and its answer."""

    async def ask(replica: Replica) -> answer_distance.Answer:
        exchange = await replica.pool.take()
        try:
            begin = request_bytes(replica, "POST", path, extra, len(body))
            answer = await exchange.send(begin, body)
            return read(answer, await exchange.read_all(MOST_ANSWERED))
        except BaseException:
            exchange.abort()
            raise

    def read(answer: Head, data: bytes) -> answer_distance.Answer:
        if answer.status != 200:
            raise ValueError("it is an error")
        if answer.get(b"content-encoding") not in {None, b"identity"}:
            data = unpacked(data, MOST_ANSWERED)
        length = answer.get(b"inference-header-content-length")
        return tensors.of_http(data, None if length is None else int(length))

    def got() -> answer_distance.Answer:
        # A model that keeps state between the requests of a sequence would have one more of them.
        if b'"sequence_id"' in body:
            raise ValueError("it is one of a sequence")
        return read(head, data)

    return Question(len(body), len(data), ask, got)
