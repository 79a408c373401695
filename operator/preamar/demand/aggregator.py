"""How much work wants each service now? The sum of what all gateways said within 5 s.

Reports come in one thread and are asked for in another.

Unknown is not zero: while a gateway that we know is silent, has only just begun, or has not heard of
a service yet, the sum may raise a size and never lower one. A gateway that said it is leaving is
forgotten; one that vanished without a word is forgotten only after two minutes in which others
reported.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from threading import Lock
from types import MappingProxyType

from preamar.demand.arrivals import Arrivals
from preamar.demand.means import Mean
from preamar.protocol.demand import MOST_SERVICES, Carried, Demand, Load, Report

FRESH_SECONDS = 5.0
FORGOTTEN_SECONDS = 120.0
# A late report of a moment ago is older news; a lower number after that is a gateway's new life.
REORDER_SECONDS = 1.0
# A gateway whose first report that we hear has a higher number has served before we heard it.
NEWBORN = 8
PRUNE_SECONDS = 60.0
MOST_GATEWAYS = 64
NOTHING = Load(0, 0)


@dataclass(frozen=True, slots=True)
class Changes:
    """Services whose demand a report changed; ``urgent`` ones had nothing queued before, or were
    not known."""

    changed: frozenset[str] = frozenset()
    urgent: frozenset[str] = frozenset()


class TooMany(Exception):
    """More gateways than any installation has: somebody makes names up."""


@dataclass(slots=True)
class _LearnedMeans:
    service: Mean
    first_token: Mean


class DemandAggregator:
    """The last report of each gateway. Times come in, of any clock that only goes forward."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._reports: dict[str, tuple[float, Report]] = {}
        self._arrivals = Arrivals()
        self._learned: dict[str, _LearnedMeans] = {}
        self._settled_at = 0.0
        self._pruned_at = 0.0
        self._was_whole = False

    def take(self, report: Report, now: float) -> Changes:
        """Note a report. Raises ``TooMany``."""
        with self._lock:
            return self._take(report, now)

    def _take(self, report: Report, now: float) -> Changes:
        self._forget(now)
        at, last = self._reports.get(report.gateway, (-FRESH_SECONDS, Report(report.gateway, -1)))
        late = report.sequence <= last.sequence
        if report.leaving:
            return self._farewell(report, at, last, now)
        if late and now - at < REORDER_SECONDS:
            return Changes()
        if report.gateway not in self._reports:
            if len(self._reports) >= MOST_GATEWAYS:
                raise TooMany
            if not self._reports or report.sequence > NEWBORN:
                self._arrivals.unknown_until(now)
        if late:  # it died and took with it what it had not told
            self._arrivals.unknown_until(now)
        if late or report.gateway not in self._reports:
            # Its callers are on their way to it, or to others: so far its zero tells nothing.
            self._settled_at = now + FRESH_SECONDS
        else:
            self._learn(report, at, last, now)
        self._reports[report.gateway] = (now, report)
        return self._changes(report, last, silent=now - at >= FRESH_SECONDS, now=now)

    def _farewell(self, report: Report, at: float, last: Report, now: float) -> Changes:
        if self._reports.pop(report.gateway, None) is None:
            return Changes()
        if report.sequence > last.sequence:
            self._learn(report, at, last, now)
        else:
            self._arrivals.unknown_until(now)
        if any(load.in_flight for load in report.services.values()):
            self._settled_at = now + FRESH_SECONDS  # they were cut, and will ask elsewhere
        return Changes(changed=frozenset(last.services))

    def _changes(self, report: Report, last: Report, *, silent: bool, now: float) -> Changes:
        changed, urgent = set(), set()
        for name, load in report.services.items():
            before = None if silent else last.services.get(name)
            if load.tells_more_than(before):
                changed.add(name)
            if load.queued and not (before and before.queued):
                urgent.add(name)
        changed |= last.services.keys() - report.services.keys()
        if (whole := self._whole(now)) != self._was_whole:
            # Every sum has become known, or unknown, though no number changed.
            self._was_whole = whole
            changed |= {name for _, other in self._reports.values() for name in other.services}
        return Changes(frozenset(changed), frozenset(urgent))

    def _learn(self, report: Report, at: float, last: Report, now: float) -> None:
        """What happened since the last report. A total that became less has begun anew."""
        for name, load in report.services.items():
            before = last.services.get(name, NOTHING)
            if load[2:6] == before[2:6]:
                continue
            if load.arrived < before.arrived:
                before = NOTHING
            if arrived := load.arrived - before.arrived:
                self._arrivals.add(name, arrived, at, now)
            self._take_time(name, load, before)

    def _take_time(self, name: str, load: Load, before: Load) -> None:
        finished = load.finished - before.finished
        begun = load.first_tokens - before.first_tokens
        if finished <= 0 and begun <= 0:
            return
        learned = self._learned.get(name)
        if learned is None:
            if len(self._learned) >= MOST_SERVICES:
                return
            learned = self._learned[name] = _LearnedMeans(Mean(), Mean())
        seconds = load.busy_seconds - before.busy_seconds
        if finished > 0 and seconds >= 0:
            learned.service.add(finished, seconds)
        seconds = load.first_token_seconds - before.first_token_seconds
        if begun > 0 and seconds >= 0:
            learned.first_token.add(begun, seconds)

    def demand(self, service: str, now: float) -> Demand:
        """What is known of one service."""
        with self._lock:
            return self._demand(service, now)

    def _demand(self, service: str, now: float) -> Demand:
        self._forget(now)
        fresh = [report for at, report in self._reports.values() if now - at < FRESH_SECONDS]
        loads = [report.services[service] for report in fresh if service in report.services]
        at_least = sum(load.in_flight for load in loads)
        complete = self._whole(now) and bool(loads) and len(loads) == len(self._reports)
        learned = self._learned.get(service)
        return Demand(
            in_flight=at_least if complete else None,
            at_least=at_least,
            queued=sum(load.queued for load in loads),
            oldest_wait=max((load.oldest_wait for load in loads), default=0.0),
            arrivals=self._told(service, now),
            service_seconds=learned.service.value if learned else None,
            first_token_seconds=learned.first_token.value if learned else None,
            pods=_summed(loads),
            trials=tuple(load.trial for load in loads if load.trial is not None),
        )

    def _told(self, service: str, now: float) -> tuple[int, ...]:
        """Arrivals up to where every gateway has told; while one is silent, nothing recent is
        known."""
        heard = min((at for at, _ in self._reports.values()), default=0.0)
        if not self._reports or now - heard >= FRESH_SECONDS:
            return ()
        return self._arrivals.told(service, heard)

    def _whole(self, now: float) -> bool:
        """Whether every gateway had its say: none has only just begun, and none may be silent."""
        return now >= self._settled_at and all(
            now - at < FRESH_SECONDS for at, _ in self._reports.values()
        )

    def gateways(self, now: float) -> dict[str, float]:
        """Seconds since each gateway was heard."""
        with self._lock:
            return {name: now - at for name, (at, _) in self._reports.items()}

    def _forget(self, now: float) -> None:
        if any(now - at < FRESH_SECONDS for at, _ in self._reports.values()):
            for name, at in self._vanished(now):
                del self._reports[name]
                self._arrivals.unknown_until(at + 1)  # the second in which it died
        if now - self._pruned_at >= PRUNE_SECONDS:
            self._pruned_at = now
            self._arrivals.prune(now)
            listed = {name for _, report in self._reports.values() for name in report.services}
            self._learned = {name: one for name, one in self._learned.items() if name in listed}

    def _vanished(self, now: float) -> Iterator[tuple[str, float]]:
        for name, (at, _) in tuple(self._reports.items()):
            if now - at >= FORGOTTEN_SECONDS:
                yield name, at


def _summed(loads: list[Load]) -> Mapping[str, Carried]:
    pods: dict[str, Carried] = {}
    for load in loads:
        for ip, more in load.pods.items():
            had = pods.get(ip, Carried())
            pods[ip] = Carried(had.running + more.running, had.tokens_left + more.tokens_left)
    return MappingProxyType(pods)
