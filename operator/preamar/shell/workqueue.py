"""Which key gets a pass, and when? One pass per key at a time, at most so many at once.

A key that is added again while its pass runs gets exactly one more. A pass that fails is tried
again with growing, jittered pauses; nothing can make a failing key spin. Every key comes back
after the resync period even if nothing was heard, because a watch can lose an event.
"""

import asyncio
import contextlib
import heapq
import logging
import random
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

log = logging.getLogger(__name__)
K = TypeVar("K", bound=Hashable)

RESYNC_SECONDS = 300.0
PASS_SECONDS = 60.0
FIRST_BACKOFF, LONGEST_BACKOFF = 0.1, 60.0
# Passes of one key start at least this far apart, so that a burst of events is one pass.
GAP_SECONDS = 0.05
# A failing key that keeps being added (a child which crashes in a loop) waits at least this long.
FAILING_GAP_SECONDS = 1.0
# Workers for urgent keys alone: somebody waits for those, and others may have all the rest busy.
URGENT_WORKERS = 4


@dataclass(frozen=True, slots=True)
class PassResult:
    """What a pass says: when to look again, or that the key is gone for good."""

    recheck_in: float | None = None
    forget: bool = False


@dataclass(slots=True)
class _Key:
    due: float | None = None
    ready_since: float | None = None
    running_since: float | None = None
    again: float | None = None
    started: float = -1e9
    failures: int = 0
    urgent: bool = False


Pass = Callable[[K], Awaitable[PassResult]]
OnPass = Callable[[K, float, BaseException | None], None]


class WorkQueue(Generic[K]):
    """Keys waiting for their pass, and the workers that carry passes out.

    Times are those of the running loop. ``on_pass`` hears the seconds of each pass and its error.
    """

    def __init__(
        self,
        work: Pass[K],
        *,
        workers: int = 16,
        on_pass: OnPass[K] = lambda _key, _seconds, _error: None,
        resync: float = RESYNC_SECONDS,
        chance: random.Random | None = None,
    ) -> None:
        self._work = work
        self._workers = workers
        self._on_pass = on_pass
        self._resync = resync
        self._chance = chance or random.Random()  # noqa: S311
        self._keys: dict[K, _Key] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._serial = 0
        self._ready: asyncio.Queue[K] = asyncio.Queue()
        self._rushed: asyncio.Queue[K] = asyncio.Queue()
        self._woken = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._running = 0
        self._stopping = False

    def add(self, key: K, *, urgent: bool = False) -> None:
        """Give the key a pass as soon as may be; ``urgent`` does not wait for a burst to end, nor
        for other keys."""
        state = self._keys.setdefault(key, _Key())
        if urgent and not state.urgent:
            state.urgent = True
            if state.ready_since is not None:
                self._rushed.put_nowait(key)
        gap = 0.0 if urgent else GAP_SECONDS
        if state.failures:
            gap = FAILING_GAP_SECONDS
        self._plan(key, max(_now(), state.started + gap))

    def add_in(self, key: K, seconds: float) -> None:
        """Give the key a pass after a while, unless it gets one sooner."""
        self._plan(key, _now() + max(0.0, seconds))

    def known(self) -> frozenset[K]:
        """Every key that has not been forgotten."""
        return frozenset(self._keys)

    @property
    def depth(self) -> int:
        """How many keys wait for a worker."""
        return self._ready.qsize()

    def oldest_seconds(self) -> float:
        """How long the key that waits longest has waited, or the slowest pass has run."""
        since = [
            moment
            for state in self._keys.values()
            for moment in (state.ready_since, state.running_since)
            if moment is not None
        ]
        return _now() - min(since) if since else 0.0

    async def run(self) -> None:
        """Carry passes out until cancelled, or until ``stop``; then end when running ones have."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._dispatch())
            for _ in range(self._workers):
                group.create_task(self._serve(self._ready))
            for _ in range(URGENT_WORKERS):
                group.create_task(self._serve(self._rushed))

    async def stop(self, grace: float = 10.0) -> None:
        """Start no more passes, and give those that run a while to end."""
        self._stopping = True
        self._woken.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._idle.wait()

    def _plan(self, key: K, when: float) -> None:
        state = self._keys.setdefault(key, _Key())
        if state.running_since is not None:
            state.again = when if state.again is None else min(state.again, when)
            return
        if state.ready_since is not None or (state.due is not None and state.due <= when):
            return
        state.due = when
        self._serial += 1
        heapq.heappush(self._heap, (when, self._serial, key))
        self._woken.set()

    async def _dispatch(self) -> None:
        """Move keys from the clock to the workers."""
        while True:
            self._woken.clear()
            while self._heap and self._heap[0][0] <= _now():
                when, _, key = heapq.heappop(self._heap)
                state = self._keys.get(key)
                # A key that was brought forward, or forgotten, leaves its old place behind.
                if state is not None and state.due == when:
                    state.due, state.ready_since = None, _now()
                    self._ready.put_nowait(key)
                    if state.urgent:
                        self._rushed.put_nowait(key)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._heap[0][0] - _now() if self._heap else None):
                    await self._woken.wait()

    async def _serve(self, ready: "asyncio.Queue[K]") -> None:
        while True:
            key = await ready.get()
            state = self._keys.get(key)
            # An urgent key is in two queues, and whoever comes first takes it.
            if self._stopping or state is None or state.ready_since is None:
                continue
            state.ready_since, state.running_since, state.urgent = None, _now(), False
            state.started = state.running_since
            self._running += 1
            self._idle.clear()
            try:
                verdict, error = await self._pass(key)
            finally:
                self._running -= 1
                if not self._running:
                    self._idle.set()
            took = _now() - state.started
            state.running_since = None
            again, state.again = state.again, None
            self._on_pass(key, took, error)
            if verdict.forget and error is None and again is None:
                del self._keys[key]
                continue
            state.failures = state.failures + 1 if error else 0
            after = self._backoff(state, error) if error else self._after(verdict)
            self._plan(key, _now() + after)
            if again is not None:
                # What was heard during a failing pass must not shorten its pause to nothing.
                self._plan(key, max(again, state.started + FAILING_GAP_SECONDS) if error else again)

    async def _pass(self, key: K) -> tuple[PassResult, Exception | None]:
        """Errors end here: they are logged with the key, and the key comes back."""
        try:
            async with asyncio.timeout(PASS_SECONDS):
                return await self._work(key), None
        except Exception as error:  # the queue's edge is where every error ends
            expected = hasattr(error, "retry_after") or isinstance(error, TimeoutError)
            log.warning(
                "%s: %s: %s", key, type(error).__name__, error, exc_info=None if expected else error
            )
            return PassResult(), error

    def _after(self, verdict: PassResult) -> float:
        resync = self._resync * self._chance.uniform(0.8, 1.2)
        return resync if verdict.recheck_in is None else min(verdict.recheck_in, resync)

    def _backoff(self, state: _Key, error: Exception) -> float:
        longest: float = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** min(state.failures - 1, 20))
        wait = longest * self._chance.uniform(0.5, 1.0)
        asked: float | None = getattr(error, "retry_after", None)
        return max(wait, asked or 0.0)


def _now() -> float:
    return asyncio.get_running_loop().time()
