"""What does a gateway say, and what is news in it? Frozen data, as ``POST /demand`` brought it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from preamar.protocol.canary import Trial
from preamar.protocol.demand import Carried

NO_PODS: Mapping[str, Carried] = MappingProxyType({})


class Load(NamedTuple):
    """What one gateway says of one service: how it is now, and totals since the gateway's start.
    Seconds are on a replica; ``pods`` are those with requests, by address."""

    queued: int
    running: int
    arrived: int = 0
    finished: int = 0
    busy_seconds: float = 0.0
    first_tokens: int = 0
    first_token_seconds: float = 0.0
    oldest_wait: float = 0.0
    pods: Mapping[str, Carried] = NO_PODS
    trial: Trial | None = None

    @property
    def in_flight(self) -> int:
        """Requests that want the service now."""
        return self.queued + self.running

    def tells_more_than(self, before: "Load | None") -> bool:
        """Whether a decision may come out otherwise: by a count, or because somebody waits on."""
        return before is None or self[:3] != before[:3] or self.oldest_wait > 0


@dataclass(frozen=True, slots=True)
class Report:
    """One report of one gateway. Services are named ``namespace/name``."""

    gateway: str
    sequence: int
    services: Mapping[str, Load] = field(default_factory=lambda: MappingProxyType({}))
    leaving: bool = False
