"""Which ways of sizing are compared, and what comes of each?

``preamar``; each rule of the field with its published defaults, and as ``NAME-tuned`` with the
settings that keep the goal for the share asked for at the least cost on this very trace; ``fixed``,
the least constant size that does; and those who know what comes: ``optimum``, and
``optimum-ahead-1`` and ``-2`` who see one and two cold starts ahead.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from preamar.cli.simulate.clairvoyant import clairvoyant
from preamar.cli.simulate.engine import SimulationResult, World, run
from preamar.cli.simulate.lookahead import ahead
from preamar.cli.simulate.ours import preamar, queue_seconds
from preamar.cli.simulate.rules import Family, families, fixed
from preamar.cli.simulate.trace import LoadTrace
from preamar.cli.simulate.tuning import at_size, tune, tune_fixed

OURS, FIXED, OPTIMUM = "preamar", "fixed", "optimum"
TUNED = "-tuned"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one policy. ``settings``: those it ran with, where it has any. ``note``: what a
    reader should know who compares it."""

    policy: str
    outcome: SimulationResult
    settings: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    note: str = ""


Policy = Callable[[LoadTrace, World, float], Result]
"""From a load, a world and the share of requests that should keep the goal."""


def policies(world: World) -> Mapping[str, Policy]:
    """All policies by name, in the order in which they are told."""
    found: dict[str, Policy] = {OURS: _ours}
    for family in families(world):
        found[family.name] = _default(family)
        found[family.name + TUNED] = _tuned(family)
    found[FIXED] = _fixed
    found["optimum-ahead-1"] = _ahead(1)
    found["optimum-ahead-2"] = _ahead(2)
    found[OPTIMUM] = _optimum
    return MappingProxyType(found)


def _ours(load: LoadTrace, world: World, _share: float) -> Result:
    settings = {"queueSeconds": queue_seconds(load, world)}
    return Result(OURS, run(load, world, preamar(world, settings), record=True), settings)


def _default(family: Family) -> Policy:
    def ran(load: LoadTrace, world: World, _share: float) -> Result:
        rule = family.make(world, family.defaults)
        return Result(family.name, run(load, world, rule, record=True), family.defaults)

    return ran


def _tuned(family: Family) -> Policy:
    def ran(load: LoadTrace, world: World, share: float) -> Result:
        best = tune(family, load, world, share)
        rule = family.make(world, best.knobs)
        note = "" if best.kept else "no setting that was tried keeps the share"
        outcome = run(load, world, rule, record=True)
        return Result(family.name + TUNED, outcome, best.knobs, note)

    return ran


def _fixed(load: LoadTrace, world: World, share: float) -> Result:
    best = tune_fixed(load, world, share)
    size = int(best.knobs["size"])
    rule = fixed(world, best.knobs)
    outcome = run(load, at_size(world, size), rule, record=True)
    note = f"{size} replicas, ready from the beginning; the others begin with {world.min}"
    if not best.kept:
        note += "; not even the most keep the share"
    return Result(FIXED, outcome, best.knobs, note)


def _optimum(load: LoadTrace, world: World, share: float) -> Result:
    outcome, price = clairvoyant(load, world, share, record=True)
    return Result(OPTIMUM, outcome, {"price": price}, _short(outcome, share))


def _ahead(cold_starts: int) -> Policy:
    def ran(load: LoadTrace, world: World, share: float) -> Result:
        seconds = cold_starts * world.cold_start
        outcome, price = ahead(load, world, seconds, share, record=True)
        settings = {"price": price}
        return Result(f"{OPTIMUM}-ahead-{cold_starts}", outcome, settings, _short(outcome, share))

    return ran


def _short(outcome: SimulationResult, share: float) -> str:
    return "" if outcome.within_goal >= share else "the share cannot be kept"
