"""How many replicas does demand ask for, before anything else has its say?

InFlight: requests queued and running over what one replica should carry. QueueSeconds and
FirstTokenSeconds: the size that keeps the goal at the least cost if the last minutes come again
(``sizing``), or the constant one where following would have cost more (``habit``). Without history
it is square-root staffing (Halfin and Whitt, Heavy-traffic limits for queues with many exponential
servers, 1981): the work there is, and its square root for what chance adds.
"""

from dataclasses import dataclass
from decimal import Decimal
from math import ceil, sqrt

from preamar.api.scaling import Signal
from preamar.core.serving.sizing.sizing import Goal, Standing, cheapest
from preamar.core.serving.sizing.static_size import StaticSize
from preamar.protocol.demand import Demand

COLD_START_SECONDS = 60.0
"""Of a replica that nobody has seen start."""
LEAST_HISTORY = 5
"""Seconds of arrivals below which there is nothing to replay."""


@dataclass(frozen=True, slots=True)
class Aim:
    """What size follows. ``value``: requests per replica for InFlight, else seconds. ``slots``:
    requests that one replica runs at once."""

    signal: Signal = Signal.IN_FLIGHT
    value: Decimal = Decimal(8)
    slots: int = 8


@dataclass(frozen=True, slots=True)
class ReplicaCounts:
    """The replicas that there are. ``starting``: seconds until each other one should be ready."""

    ready: int = 0
    starting: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Measurements:
    """What was measured of this model. Seconds; None where nothing was."""

    cold_start: float | None = None
    habit: StaticSize | None = None


def goal_of(aim: Aim, demand: Demand, cold_start: float | None) -> Goal | None:
    """The goal in seconds of waiting; None for InFlight, and before a request was timed."""
    if aim.signal == Signal.IN_FLIGHT or not demand.service_seconds:
        return None
    wait = float(aim.value)
    if aim.signal == Signal.FIRST_TOKEN_SECONDS:
        wait -= demand.first_token_seconds or 0.0
    return Goal(
        wait=max(wait, 0.0),
        service=demand.service_seconds,
        slots=float(aim.slots),
        cold_start=COLD_START_SECONDS if cold_start is None else cold_start,
    )


def sized_by_goal(aim: Aim, demand: Demand, cold_start: float | None) -> Goal | None:
    """The goal, where enough has arrived to replay."""
    return goal_of(aim, demand, cold_start) if len(demand.arrivals) >= LEAST_HISTORY else None


def copies(in_flight: int, aim: Aim) -> int:
    """Replicas for that many requests at once."""
    work = max(in_flight, 0)
    if aim.signal == Signal.IN_FLIGHT:
        return ceil(Decimal(work) / aim.value)
    return ceil((work + sqrt(work)) / aim.slots)


def wanted(
    aim: Aim,
    demand: Demand,
    in_flight: int,
    size: int,
    fleet: ReplicaCounts,
    learned: Measurements,
    bounds: tuple[int, int],
) -> int:
    """Replicas that demand asks for. ``in_flight`` is what is known of it; ``bounds``: the user's
    least, above zero where the service never sleeps, and the most that is counted out."""
    goal = sized_by_goal(aim, demand, learned.cold_start)
    least, most = bounds
    if goal is None:
        return copies(in_flight, aim)
    habit = learned.habit
    recent = demand.arrivals[-ceil(goal.cold_start) - 1 :]
    if not in_flight and not (fleet.ready and any(recent)):
        # Whether it may sleep is decided by how long it has idled. One that may not, and whose
        # bursts cannot be followed, stands ready for the next.
        return habit.size if habit and least else 0
    if size == 0:
        return max(1, min(copies(in_flight, aim), most))
    standing = Standing(size, fleet.ready, fleet.starting, demand.queued)
    if habit and size >= habit.size and habit.holds(demand.arrivals, demand.queued, goal):
        return habit.size
    follow = cheapest(goal, standing, demand.arrivals, most)
    return max(follow, habit.size) if habit else follow
