"""Which settings of a rule keep the goal for a share of requests at the least cost on one trace?

Each combination of the other knobs is tried with the first knob found by halving: a lower target
means more replicas and a higher share, nearly always. So of a grid of some hundred settings a few
dozen are run; the true best of the grid may be a little cheaper where the share wavers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product

from preamar.cli.simulate.engine import SimulationResult, World, run
from preamar.cli.simulate.rules import Family, fixed
from preamar.cli.simulate.trace import LoadTrace


@dataclass(frozen=True, slots=True)
class Tuned:
    """The best settings found. ``kept``: whether they reach the share; else they are those that
    come nearest. ``tried``: how many were run."""

    knobs: Mapping[str, float]
    outcome: SimulationResult
    kept: bool
    tried: int


def tune(family: Family, load: LoadTrace, world: World, share: float) -> Tuned:
    """The cheapest settings of a family's grid that keep the goal for ``share`` of requests."""
    first, *others = family.grid
    targets = sorted(family.grid[first])
    runs: list[tuple[Mapping[str, float], SimulationResult]] = []
    for rest in product(*(family.grid[name] for name in others)):
        knobs = dict(zip(others, rest, strict=True))

        def at(place: int, knobs: Mapping[str, float] = knobs) -> SimulationResult:
            chosen = {first: targets[place], **knobs}
            outcome = run(load, world, family.make(world, chosen))
            runs.append((chosen, outcome))
            return outcome

        _highest(at, len(targets), share)
    return _best(runs, share)


def tune_fixed(load: LoadTrace, world: World, share: float) -> Tuned:
    """The least constant size that keeps the goal for ``share``, ready from the beginning."""
    runs: list[tuple[Mapping[str, float], SimulationResult]] = []

    def at(place: int) -> SimulationResult:
        size = world.max - place
        outcome = run(load, at_size(world, size), fixed(world, {"size": size}))
        runs.append(({"size": float(size)}, outcome))
        return outcome

    _highest(at, world.max - max(world.min, 1) + 1, share)
    return _best(runs, share)


def at_size(world: World, size: int) -> World:
    """The same world with that many replicas, always."""
    return World(world.slots, world.cold_start, world.goal, size, size)


def _highest(at: Callable[[int], SimulationResult], count: int, share: float) -> None:
    """Run by halving up to the last place of ``count`` at which the share is kept."""
    low, high = 0, count - 1
    while low <= high:
        place = (low + high) // 2
        if at(place).within_goal >= share:
            low = place + 1
        else:
            high = place - 1


def _best(runs: list[tuple[Mapping[str, float], SimulationResult]], share: float) -> Tuned:
    good = [each for each in runs if each[1].within_goal >= share]
    if good:
        knobs, outcome = min(good, key=lambda each: each[1].replica_seconds)
    else:
        knobs, outcome = max(runs, key=lambda each: each[1].within_goal)
    return Tuned(knobs, outcome, bool(good), len(runs))
