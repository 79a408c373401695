"""How would Preamar size the service? By the operator's own code, on simulated time.

``core.serving.scaling.decide`` with the signal ``QueueSeconds`` and all else as it comes: what the
operator would know of the load (arrivals by the second, queue, oldest wait, learned service time,
when each replica was ordered) is handed to it here. The demand reports of the gateways come each
second and at once when a queue begins or has doubled; the habit is asked for once a minute, as the
shell does.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from preamar.api.scaling import Scaling, Signal
from preamar.cli.simulate.engine import SizingRule, View, World
from preamar.cli.simulate.trace import LoadTrace
from preamar.core.serving.sizing.demand_size import Aim, Measurements, ReplicaCounts, goal_of
from preamar.core.serving.sizing.scaling import (
    ScalingDecision,
    ScalingPolicy,
    ScalingSituation,
    decide,
)
from preamar.core.serving.sizing.size import ALMOST
from preamar.core.serving.sizing.static_size import EVERY_SECONDS, MEMORY, StaticSize, habit
from preamar.demand.means import Mean
from preamar.protocol.demand import Demand

BEGIN = datetime(2000, 1, 1, tzinfo=UTC)


class Preamar:
    """The operator's law with its memory. ``wait``: the target, seconds in the queue."""

    def __init__(self, world: World, wait: float) -> None:
        aim = Aim(Signal.QUEUE_SECONDS, Decimal(str(wait)), world.slots)
        self._world = world
        self._policy = ScalingPolicy(world.min, world.max, aim, Scaling().idle_seconds)
        self._last: ScalingDecision | None = None
        self._service = Mean()
        self._seconds = 0
        self._habit: StaticSize | None = None
        self._habit_at = 0.0

    def decide(self, view: View) -> int:
        """The size for now."""
        demand = Demand(
            in_flight=view.queued + view.running,
            queued=view.queued,
            oldest_wait=view.oldest_wait,
            arrivals=tuple(view.arrived[-MEMORY:]),
            service_seconds=self._learn(view),
        )
        cold_start = self._world.cold_start
        goal = goal_of(self._policy.aim, demand, cold_start)
        if goal and view.now - self._habit_at >= EVERY_SECONDS:
            self._habit = habit(goal, demand.arrivals, self._world.max)
            self._habit_at = view.now
        etas = (max(ALMOST, at + cold_start - view.now) for at in view.ordered)
        situation = ScalingSituation(
            now=BEGIN + timedelta(seconds=view.now),
            replicas=view.size,
            demand=demand,
            loaded=True,
            last=self._last,
            fleet=ReplicaCounts(view.ready, tuple(sorted(etas))),
            learned=Measurements(cold_start, self._habit),
        )
        self._last = decide(self._policy, situation)
        return self._last.replicas

    def _learn(self, view: View) -> float | None:
        """The mean time on a replica, as the operator learns it from reports."""
        for second in range(self._seconds, len(view.ended)):
            if count := view.ended[second]:
                self._service.add(count, view.busy_seconds[second])
        self._seconds = len(view.ended)
        return self._service.value


def queue_seconds(load: LoadTrace, world: World) -> float:
    """The target to write into the service's manifest: what the goal for an answer leaves for the
    wait, if all but the slowest twentieth of requests shall have time to run."""
    return round(max(world.goal - load.service_of(0.95), 0.0), 2)


def preamar(world: World, knobs: Mapping[str, float]) -> SizingRule:
    """Preamar with its defaults. ``knobs["queueSeconds"]``: the target."""
    return SizingRule(Preamar(world, knobs["queueSeconds"]).decide, every=1.0, prompt=True)
