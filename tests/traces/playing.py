"""A service in fast motion: the law decides once a second, replicas start, callers come and go.

What the law sees goes through the same functions as in the operator; what replicas do is said by
each test. Seconds are simulated; nothing waits.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from preamar.api.scaling import Signal
from preamar.core.serving.sizing.demand_size import Aim, Measurements, ReplicaCounts
from preamar.core.serving.sizing.scaling import (
    ScalingDecision,
    ScalingPolicy,
    ScalingReason,
    ScalingSituation,
    decide,
)
from preamar.protocol.demand import Demand

BEGIN = datetime(2027, 1, 31, 18, tzinfo=UTC)
POLICY = ScalingPolicy(min=0, max=8, aim=Aim(Signal.IN_FLIGHT, Decimal(8)), idle=60)
GOAL = replace(POLICY, aim=Aim(Signal.QUEUE_SECONDS, Decimal(8), slots=4))
InFlight = Callable[[int], int | None]


@dataclass
class World:
    """How replicas behave: seconds until one is ready (None: never), and when all are failing."""

    start: int | None = 30
    failing: Callable[[int], bool] = lambda second: False
    clock: Callable[[int], float] = float
    service: float | None = None
    seen: list[tuple[int, int, ScalingReason]] = field(default_factory=list)

    def play(self, in_flight: InFlight, seconds: int, policy: ScalingPolicy = POLICY) -> "World":
        """Let ``seconds`` pass. The size begins at zero, of a model that has loaded before."""
        size, orders = 0, list[int]()
        last: ScalingDecision | None = None
        arrivals: list[int] = []
        for second in range(seconds):
            now = BEGIN + timedelta(seconds=self.clock(second))
            flight = in_flight(second)
            arrivals.append(flight or 0)
            ready = [o for o in orders if self.start is not None and second >= o + self.start]
            starting = tuple(
                float(max(1, o + (self.start or 3600) - second)) for o in orders if o not in ready
            )
            demand = Demand(
                flight,
                flight or 0,
                0 if ready else flight or 0,
                arrivals=tuple(arrivals[-1800:]),
                service_seconds=self.service,
            )
            situation = ScalingSituation(
                now, size, demand, True, last,
                ReplicaCounts(len(orders) - len(starting), starting),
                Measurements(float(self.start) if self.start is not None else None),
                self.failing(second),
            )  # fmt: skip
            last = decide(policy, situation)
            orders = orders[: last.replicas] + [second] * (last.replicas - len(orders))
            size = last.replicas
            self.seen.append((second, size, last.reason))
        return self

    @property
    def sizes(self) -> list[int]:
        """The size in each second."""
        return [size for _, size, _ in self.seen]

    @property
    def changes(self) -> list[tuple[int, int, str]]:
        """When the size became what, and why; the first second included."""
        first = [(0, self.seen[0][1], str(self.seen[0][2]))]
        return first + [
            (second, size, str(reason))
            for (_, before, _), (second, size, reason) in pairwise(self.seen)
            if size != before
        ]
