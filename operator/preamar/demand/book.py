"""How much work wants each service now? The sum of what all gateways said within 5 s.

Unknown is not zero: while a gateway that we know is silent, or has not heard of a service yet, the
sum may raise a size and never lower one. A gateway that said it is leaving is forgotten; one that
vanished without a word is forgotten only after two minutes in which others reported.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

FRESH_SECONDS = 5.0
FORGOTTEN_SECONDS = 120.0
# A late report of a moment ago is older news; a lower number after that is a gateway's new life.
REORDER_SECONDS = 1.0
MOST_GATEWAYS = 64
MOST_SERVICES = 10_000


@dataclass(frozen=True, slots=True)
class Load:
    """What one gateway says of one service."""

    queued: int
    running: int
    arrived: int = 0

    @property
    def in_flight(self) -> int:
        """Requests that want the service now."""
        return self.queued + self.running


@dataclass(frozen=True, slots=True)
class Report:
    """One report of one gateway. Services are named ``namespace/name``."""

    gateway: str
    sequence: int
    services: Mapping[str, Load] = field(default_factory=lambda: MappingProxyType({}))
    leaving: bool = False


@dataclass(frozen=True, slots=True)
class Demand:
    """Over all gateways: ``in_flight`` is None while any that should report is silent."""

    in_flight: int | None = None
    at_least: int = 0
    queued: int = 0


@dataclass(frozen=True, slots=True)
class Changes:
    """Services whose demand a report changed; ``urgent`` ones had nothing queued before, or were
    not known."""

    changed: frozenset[str] = frozenset()
    urgent: frozenset[str] = frozenset()


class TooMany(Exception):
    """More gateways than any installation has: somebody makes names up."""


class DemandBook:
    """The last report of each gateway. Times come in, of any clock that only goes forward."""

    def __init__(self) -> None:
        self._reports: dict[str, tuple[float, Report]] = {}
        self._first: float | None = None
        self._was_whole = False

    def take(self, report: Report, now: float) -> Changes:
        """Note a report. Raises ``TooMany``."""
        self._forget(now)
        at, last = self._reports.get(report.gateway, (-FRESH_SECONDS, Report(report.gateway, -1)))
        if report.leaving:
            self._reports.pop(report.gateway, None)
            return Changes(changed=frozenset(last.services))
        if report.sequence <= last.sequence and now - at < REORDER_SECONDS:
            return Changes()
        if report.gateway not in self._reports and len(self._reports) >= MOST_GATEWAYS:
            raise TooMany
        self._first = now if self._first is None else self._first
        self._reports[report.gateway] = (now, report)
        silent = now - at >= FRESH_SECONDS
        changed, urgent = set(), set()
        for name, load in report.services.items():
            before = None if silent else last.services.get(name)
            if load != before:
                changed.add(name)
            if load.queued and not (before and before.queued):
                urgent.add(name)
        changed |= last.services.keys() - report.services.keys()
        if (whole := self._whole(now)) != self._was_whole:
            # Every sum has become known, or unknown, though no number changed.
            self._was_whole = whole
            changed |= {name for _, other in self._reports.values() for name in other.services}
        return Changes(frozenset(changed), frozenset(urgent))

    def demand(self, service: str, now: float) -> Demand:
        """What is known of one service."""
        self._forget(now)
        fresh = [report for at, report in self._reports.values() if now - at < FRESH_SECONDS]
        loads = [report.services[service] for report in fresh if service in report.services]
        at_least = sum(load.in_flight for load in loads)
        queued = sum(load.queued for load in loads)
        complete = self._whole(now) and bool(loads) and len(loads) == len(self._reports)
        return Demand(at_least if complete else None, at_least, queued)

    def _whole(self, now: float) -> bool:
        """Whether every gateway had its say: not just after our start, and none may be silent."""
        settled = self._first is not None and now - self._first >= FRESH_SECONDS
        return settled and all(now - at < FRESH_SECONDS for at, _ in self._reports.values())

    def gateways(self, now: float) -> dict[str, float]:
        """Seconds since each gateway was heard."""
        return {name: now - at for name, (at, _) in self._reports.items()}

    def _forget(self, now: float) -> None:
        heard = any(now - at < FRESH_SECONDS for at, _ in self._reports.values())
        if heard:
            self._reports = {
                name: (at, report)
                for name, (at, report) in self._reports.items()
                if now - at < FORGOTTEN_SECONDS
            }
