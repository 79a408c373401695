"""What happens when a rule sizes a service under a load?

A replica runs ``slots`` requests at once, each for its own time; who finds no free slot waits in
one line, first come, first served. A replica is paid for from its order to its removal, so also
while it starts. One that is ordered away takes requests only while all others are full, and leaves
when it is next empty: capacity at any moment is ready replicas times slots, so that a timeline can
be replayed by hand.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import ceil, inf

from preamar.cli.simulate.trace import LoadTrace

BUCKET = 1.0
"""Seconds over which arrivals and work are counted for the rules."""
PATIENCE_SECONDS = 7200.0
"""After the last arrival: a rule that never serves what waits must not run for ever."""


@dataclass(frozen=True, slots=True)
class World:
    """What a replica can do and may cost. Seconds; ``goal`` is from arrival to the answer."""

    slots: int
    cold_start: float
    goal: float
    min: int
    max: int


@dataclass(slots=True)
class View:
    """What a rule may see at ``now``: no more than a metrics pipeline could tell it.

    ``arrived`` and ``in_flight`` hold, for each whole second so far, how many requests arrived and
    how many were there on average; ``queued_seconds`` and ``busy_seconds`` how long requests that
    ended in that second (or began, for the wait) had waited and run. ``ordered``: when each of the
    replicas that start was ordered.
    """

    now: float = 0.0
    queued: int = 0
    running: int = 0
    ready: int = 0
    starting: int = 0
    size: int = 0
    oldest_wait: float = 0.0
    ordered: tuple[float, ...] = ()
    arrived: list[int] = field(default_factory=list)
    in_flight: list[float] = field(default_factory=list)
    queued_seconds: list[float] = field(default_factory=list)
    busy_seconds: list[float] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SizingRule:
    """A way to choose a size. ``decide`` is asked each ``every`` seconds, first after ``offset``,
    and, if ``prompt``, also at once when a queue begins or has doubled. It may keep what it likes between calls:
    each run gets a new one."""

    decide: Callable[[View], int]
    every: float
    prompt: bool = False
    offset: float = 0.0


@dataclass(frozen=True, slots=True)
class StateChange:
    """The state from ``at`` on."""

    at: float
    ready: int
    starting: int
    queue: int


@dataclass(frozen=True, slots=True)
class SimulationResult:
    """What came of it. ``latencies``: seconds from arrival to answer, by order of arrival.

    ``decisions``: the sizes that were asked for, with their times. ``timeline``, if recorded: a
    change a row; the last row is the end, whether or not anything changed then.
    """

    latencies: list[float]
    replica_seconds: float
    scale_events: int
    timeline: list[StateChange]
    goal: float
    decisions: list[tuple[float, int]]

    @property
    def within_goal(self) -> float:
        """The share of requests answered in time."""
        limit = self.goal + 1e-9
        return sum(1 for latency in self.latencies if latency <= limit) / len(self.latencies)

    def percentile(self, share: float) -> float:
        """The smallest latency that ``share`` of all requests did not exceed."""
        ordered = sorted(self.latencies)
        return ordered[max(0, ceil(share * len(ordered) - 1e-9) - 1)]


class _SimulatedReplica:
    __slots__ = ("leaving", "ordered", "running")

    def __init__(self, ordered: float) -> None:
        self.ordered = ordered
        self.running = 0
        self.leaving = False


class _Simulation:
    """One simulation. Private: its parts only make sense together."""

    def __init__(self, load: LoadTrace, world: World, rule: SizingRule, *, record: bool) -> None:
        self.load, self.world, self.rule, self.record = load, world, rule, record
        self.view = View(ready=world.min, size=world.min)
        self.replicas = [_SimulatedReplica(0.0) for _ in range(world.min)]
        self.starting: list[tuple[float, int, _SimulatedReplica]] = []
        self.ends: list[tuple[float, int, _SimulatedReplica, float]] = []
        self.line: deque[int] = deque()
        self.latencies = [inf] * len(load.arrivals)  # who is never answered has no end
        self.paid = 0.0
        self.events = 0
        self.timeline: list[StateChange] = []
        self.decisions: list[tuple[float, int]] = [(0.0, world.min)]
        self.sequence = 0
        # For the averages of the current second.
        self.since = 0.0
        self.area = 0.0
        self.came = self.left = 0
        self.waited = self.worked = 0.0

    def note(self, now: float) -> None:
        if not self.record:
            return
        change = StateChange(now, len(self.replicas), len(self.starting), len(self.line))
        if self.timeline and self.timeline[-1].at == now:
            self.timeline[-1] = change
        elif not self.timeline or (
            (change.ready, change.starting, change.queue)
            != (self.timeline[-1].ready, self.timeline[-1].starting, self.timeline[-1].queue)
        ):
            self.timeline.append(change)

    def advance(self, now: float) -> None:
        """Close the seconds that have passed."""
        flight = len(self.line) + self.view.running
        edge = (len(self.view.arrived) + 1) * BUCKET
        while now >= edge:
            self.area += flight * (edge - self.since)
            view = self.view
            view.in_flight.append(self.area / BUCKET)
            view.arrived.append(self.came)
            view.ended.append(self.left)
            view.queued_seconds.append(self.waited)
            view.busy_seconds.append(self.worked)
            self.area = self.waited = self.worked = 0.0
            self.came = self.left = 0
            self.since = edge
            edge += BUCKET
        self.area += flight * (now - self.since)
        self.since = now

    def dispatch(self, now: float) -> None:
        slots = self.world.slots
        while self.line:
            best: _SimulatedReplica | None = None
            for replica in self.replicas:
                if replica.running >= slots:
                    continue
                if best is None or (replica.leaving, replica.running) < (
                    best.leaving,
                    best.running,
                ):
                    best = replica
            if best is None:
                return
            index = self.line.popleft()
            best.running += 1
            self.view.running += 1
            took = self.load.service[index]
            arrived = self.load.arrivals[index]
            self.waited += now - arrived
            self.latencies[index] = now + took - arrived
            self.sequence += 1
            heappush(self.ends, (now + took, self.sequence, best, took))

    def order(self, now: float, size: int) -> None:
        size = min(max(size, self.world.min), self.world.max)
        if size == self.view.size:
            return
        self.events += 1
        self.view.size = size
        self.decisions.append((now, size))
        staying = sum(not replica.leaving for replica in self.replicas)
        have = staying + len(self.starting)
        for _ in range(size - have):
            self.sequence += 1
            heappush(
                self.starting, (now + self.world.cold_start, self.sequence, _SimulatedReplica(now))
            )
        surplus = have - size
        while surplus > 0 and self.starting:
            # The one that has furthest to go is worth least.
            last = max(self.starting)
            self.starting.remove(last)
            self.paid += now - last[2].ordered
            surplus -= 1
        victims = sorted((r for r in self.replicas if not r.leaving), key=lambda r: r.running)
        for replica in victims[: max(surplus, 0)]:
            replica.leaving = True
            if not replica.running:
                self.remove(now, replica)

    def remove(self, now: float, replica: _SimulatedReplica) -> None:
        self.replicas.remove(replica)
        self.paid += now - replica.ordered

    def ask(self, now: float) -> None:
        view = self.view
        view.now = now
        view.queued = len(self.line)
        view.ready = sum(not replica.leaving for replica in self.replicas)
        view.starting = len(self.starting)
        view.ordered = tuple(entry[2].ordered for entry in self.starting)
        view.oldest_wait = now - self.load.arrivals[self.line[0]] if self.line else 0.0
        self.order(now, self.rule.decide(view))

    def go(self) -> SimulationResult:
        arrivals, ends, starting = self.load.arrivals, self.ends, self.starting
        nth, count, tick = 0, len(arrivals), self.rule.offset
        now = 0.0
        give_up = arrivals[-1] + PATIENCE_SECONDS
        while (nth < count or self.line or ends) and now < give_up:
            coming = arrivals[nth] if nth < count else inf
            now = min(
                coming, ends[0][0] if ends else inf, starting[0][0] if starting else inf, tick
            )
            self.advance(now)
            while ends and ends[0][0] <= now:
                _, _, replica, took = heappop(ends)
                self.worked += took
                replica.running -= 1
                self.view.running -= 1
                self.left += 1
                if replica.leaving and not replica.running:
                    self.remove(now, replica)
            while starting and starting[0][0] <= now:
                self.replicas.append(heappop(starting)[2])
            held = len(self.line)
            while nth < count and arrivals[nth] <= now:
                self.line.append(nth)
                nth += 1
                self.came += 1
            self.dispatch(now)
            # Gateways report at once when a queue begins, and each time it has doubled.
            doubled = len(self.line).bit_length() > held.bit_length()
            if tick <= now or (self.rule.prompt and doubled):
                self.ask(now)
                self.dispatch(now)
            if tick <= now:
                tick += self.rule.every
            self.note(now)
        for replica in [*self.replicas, *(entry[2] for entry in starting)]:
            self.paid += now - replica.ordered
        if self.record and self.timeline[-1].at < now:
            # The last row is the end, until which all are paid for.
            ready, waiting = len(self.replicas), len(self.line)
            self.timeline.append(StateChange(now, ready, len(starting), waiting))
        return SimulationResult(
            self.latencies, self.paid, self.events, self.timeline, self.world.goal, self.decisions
        )


def run(
    load: LoadTrace, world: World, rule: SizingRule, *, record: bool = False
) -> SimulationResult:
    """Feed ``load`` to a service whose size ``rule`` chooses; ``record`` keeps the timeline.

    The service begins with ``world.min`` replicas, ready, and is paid for until the last answer.
    """
    if world.max < 1:
        raise ValueError("no request is ever answered with max 0")
    return _Simulation(load, world, rule, record=record).go()
