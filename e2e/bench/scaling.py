"""How good are the sizes? S1, on the generated loads and on traces of your own.

One default setting of ours against each rule of the field: with its published defaults (at most
0.75 of its replica-seconds), tuned to that very trace (never above 1.02), and on bursty loads the
distance to the optimum that knows every arrival (at most half of the tuned rule's).

At equal share: rules are tuned to, and the optimum planned for, the share of requests within the
goal that ours keeps, but for no more than 99 %. Defaults come as they are; where one keeps more
than ours, both shares are shown. Tuning tries some dozens of a grid's hundreds of settings, by
halving; the optimum is the best found in some seconds, so the true one is a little cheaper.
"""

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean, pstdev

from preamar.cli.simulate.clairvoyant import bound, clairvoyant
from preamar.cli.simulate.engine import World, run
from preamar.cli.simulate.generate import LOADS, generate
from preamar.cli.simulate.ours import preamar, queue_seconds
from preamar.cli.simulate.plots import over_time, pareto
from preamar.cli.simulate.policies import FIXED, OPTIMUM, OURS, TUNED, Result
from preamar.cli.simulate.rules import families, fixed
from preamar.cli.simulate.trace import BadTrace, LoadTrace, ServiceModel, load, read_trace
from preamar.cli.simulate.tuning import at_size, tune, tune_fixed

RESULT = Path(__file__).resolve().parents[2] / "build/bench/scaling.json"
PICTURES = RESULT.with_suffix("")
WORLD = World(slots=4, cold_start=30.0, goal=10.0, min=1, max=20)
SERVICE_SECONDS = 2.0
SHARE = 0.99
DEFAULT_TARGET, TUNED_TARGET, DISTANCE_TARGET = 0.75, 1.02, 0.5
POLISH_SECONDS = 5.0
SEED = 1
BURSTY = frozenset({"bursty-1", "bursty-13", "flash", "on-off"})
BURSTY_CV = 2.0
"""Of the gaps: from here on a trace of your own counts as bursty."""
SAME = 0.0005
"""Shares that differ by less are equal."""


@dataclass(frozen=True, slots=True)
class Line:
    """Ours against one rule. ``ratio``: our replica-seconds over its. ``distance``: how far ours is
    from the optimum over how far it is; None where that is not asked."""

    rule: str
    share: float
    replica_seconds: float
    ratio: float
    target: float
    verdict: str
    reason: str = ""
    distance: float | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """All of one load. ``optimum_share``: what the optimum kept of the share that was asked."""

    load: str
    requests: int
    bursty: bool
    share: float
    replica_seconds: float
    scale_events: int
    asked: float
    optimum: float
    optimum_share: float
    bound: float
    lines: tuple[Line, ...]
    seconds: float


def measured(fed: LoadTrace) -> Table:
    """One load: ours, every rule by default and tuned, the best fixed size, the optimum."""
    begin = time.monotonic()
    ours = run(fed, WORLD, preamar(WORLD, {"queueSeconds": queue_seconds(fed, WORLD)}), record=True)
    asked = min(SHARE, ours.within_goal)
    best, _ = clairvoyant(fed, WORLD, asked, record=True, polish_seconds=POLISH_SECONDS)
    results = [Result(OURS, ours), Result(OPTIMUM, best)]
    lines = []
    bursty = fed.name in BURSTY or (fed.name not in LOADS and _cv(fed.arrivals) > BURSTY_CV)

    def against(name: str, share: float, cost: float, *, tuned: bool, kept: bool = True) -> None:
        ratio = ours.replica_seconds / cost
        target = TUNED_TARGET if tuned else DEFAULT_TARGET
        distance = None
        if tuned and bursty and kept and cost > best.replica_seconds:
            distance = (ours.replica_seconds - best.replica_seconds) / (cost - best.replica_seconds)
        verdict, reason = "met", ""
        if not kept:
            reason = "no setting keeps the share"
        elif ratio > target:
            verdict, reason = (
                "missed",
                _why(ours.replica_seconds, best.replica_seconds, cost, target),
            )
        elif not tuned and share > ours.within_goal + SAME and ours.within_goal < SHARE:
            verdict, reason = "unequal", "it keeps more, and no setting was changed"
        if distance is not None and distance > DISTANCE_TARGET:
            verdict = "missed"
            reason = "; ".join(
                filter(None, (reason, f"distance to the optimum {distance:.2f} of its"))
            )
        lines.append(Line(name, share, cost, ratio, target, verdict, reason, distance))

    for family in families(WORLD):
        rule = family.make(WORLD, family.defaults)
        outcome = run(fed, WORLD, rule, record=True)
        results.append(Result(family.name, outcome))
        against(family.name, outcome.within_goal, outcome.replica_seconds, tuned=False)
        found = tune(family, fed, WORLD, asked)
        rule = family.make(WORLD, found.knobs)
        outcome = run(fed, WORLD, rule, record=True)
        results.append(Result(family.name + TUNED, outcome))
        against(
            family.name + TUNED, outcome.within_goal, outcome.replica_seconds,
            tuned=True, kept=found.kept,
        )  # fmt: skip
    found = tune_fixed(fed, WORLD, asked)
    size = int(found.knobs["size"])
    outcome = run(fed, at_size(WORLD, size), fixed(WORLD, found.knobs), record=True)
    results.append(Result(FIXED, outcome))
    against(
        f"{FIXED} {size}", outcome.within_goal, outcome.replica_seconds, tuned=True, kept=found.kept
    )
    PICTURES.mkdir(parents=True, exist_ok=True)
    over_time(PICTURES / f"{fed.name}-replicas.png", fed, WORLD, results, asked)
    pareto(PICTURES / f"{fed.name}-pareto.png", fed, results, asked)
    return Table(
        fed.name, len(fed.arrivals), bursty, ours.within_goal, ours.replica_seconds,
        ours.scale_events, asked, best.replica_seconds, best.within_goal, bound(fed, WORLD),
        tuple(lines), time.monotonic() - begin,
    )  # fmt: skip


def _cv(times: Sequence[float]) -> float:
    gaps = [after - before for before, after in pairwise(times)]
    return pstdev(gaps) / fmean(gaps) if len(gaps) > 1 and times[-1] > times[0] else 0.0


def _why(ours: float, best: float, cost: float, target: float) -> str:
    """What a miss is due to."""
    if best > target * cost:
        return f"the optimum itself is at {best / cost:.2f} of it"
    return (
        f"the optimum would be at {best / cost:.2f} of it, ours is {ours / best - 1:.0%} above that"
    )


def printed(table: Table) -> Iterator[str]:
    """A load's table, line by line."""
    yield (
        f"\n{table.load}: {table.requests:,} requests{', bursty' if table.bursty else ''}; "
        f"measured in {table.seconds:.0f} s"
    )
    yield (
        f"  ours keeps {table.share:.2%} for {table.replica_seconds:,.0f} replica-seconds; the optimum "
        f"{table.optimum_share:.2%} for {table.optimum:,.0f}; all work on full replicas {table.bound:,.0f}"
    )
    yield f"  {'rule':<24}{'keeps':>8}{'costs':>9}{'ours/its':>10}{'target':>8}{'distance':>10}  result"
    for line in table.lines:
        distance = "" if line.distance is None else f"{line.distance:.2f}"
        yield (
            f"  {line.rule:<24}{line.share:>8.2%}{line.replica_seconds:>9,.0f}{line.ratio:>10.2f}"
            f"{line.target:>8.2f}{distance:>10}  {line.verdict}"
            f"{': ' if line.reason else ''}{line.reason}"
        )


def loads() -> list[LoadTrace]:
    """The generated ones, and those of the files that PREAMAR_TRACES names. Raises ``BadTrace``."""
    model = ServiceModel(seconds=SERVICE_SECONDS)
    given = [Path(name) for name in os.environ.get("PREAMAR_TRACES", "").split()]
    return [load(name, generate(name, SEED), model) for name in LOADS] + [
        load(path.stem, read_trace(path), model) for path in given
    ]


def main() -> int:
    """Measure, print, and write the JSON and the pictures."""
    try:
        fed = loads()
    except BadTrace as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 1
    print(
        f"S1: slots {WORLD.slots}, service {SERVICE_SECONDS:g} s, cold start {WORLD.cold_start:g} s, goal "
        f"{WORLD.goal:g} s, {WORLD.min} to {WORLD.max} replicas; one setting of ours for all\n"
        f"fixed sizes are ready from the beginning, all others begin with {WORLD.min}",
        flush=True,
    )
    tables: list[Table] = []
    # The longest first, so that no core is idle at the end.
    longest = sorted(fed, key=lambda each: -each.seconds)
    with ProcessPoolExecutor(max_workers=min(len(fed), os.cpu_count() or 1)) as pool:
        for table in pool.map(measured, longest):
            print("\n".join(printed(table)), flush=True)
            tables.append(table)
    told = [line.verdict for table in tables for line in table.lines]
    counts = {verdict: told.count(verdict) for verdict in ("met", "missed", "unequal")}
    print("\nS1: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    targets = {"default": DEFAULT_TARGET, "tuned": TUNED_TARGET, "distance": DISTANCE_TARGET}
    world = {**asdict(WORLD), "service": SERVICE_SECONDS, "share": SHARE, "seed": SEED}
    report = {"targets": targets, "world": world, "counts": counts}
    RESULT.write_text(
        json.dumps({**report, "loads": [asdict(table) for table in tables]}, indent=1) + "\n"
    )
    print(f"written to {RESULT} and {PICTURES}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
