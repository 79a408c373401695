"""Does the simulator foretell what a real cluster does? One load, replayed on both.

A trace, its time made shorter, is sent through the gateway at exact times to a model that waits; the
operator sizes it by a goal in seconds. The simulator gets the same requests, and as its constants
what was measured here: a request's time, a start, and how long a removed replica is still there.
Compared are replica-seconds and the share within the goal, each to be within 10 %.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from e2e import cluster
from e2e.bench import replicas
from e2e.bench.fixed_latency_model import a_waiter, seed_waiter
from e2e.bench.idle_services import KIND, NoAuditLogError, loaded, place
from e2e.bench.openloop import replay, troubles
from e2e.bench.replicas import Steps, Watched, area, held, lingering, middle
from e2e.bench.validate_plot import plot
from e2e.cluster import Cluster
from e2e.journeys.audit import SYSTEM
from e2e.kube import OURS, Kube, NotInTimeError, until
from preamar.cli.simulate.engine import World, run
from preamar.cli.simulate.generate import LOADS, generate
from preamar.cli.simulate.ours import preamar
from preamar.cli.simulate.trace import BadTrace, LoadTrace, read_trace

OUT = Path(__file__).resolve().parents[2] / "build/bench"
TOLERANCE = 0.10
MEMORY_SECONDS = 1800.0
WARMING = 20
ASLEEP_AFTER = 150.0
"""Seconds after one request in which a simulated service is asleep again."""
WAYS, STRIDE = 16, 5
LONGEST_DRAIN = 60.0
USUAL_START, USUAL_END = 6.0, 9.0
"""Seconds, where a run has not seen a replica start or go."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a run comes to. ``held_seconds``: replicas from order to gone; ``asked_seconds``: the
    sizes that were written. ``peak``: the largest of those."""

    held_seconds: float
    asked_seconds: float
    share: float
    median: float
    p99: float
    peak: int
    changes: int


@dataclass(frozen=True, slots=True)
class Real:
    """One run on the cluster. Moments are seconds since its first request was due; ``begin`` is
    that of the wall clock, ``known_seconds`` how far back before it the operator knew arrivals.
    ``service``: seconds of a request that waits for no replica, as its caller sees it."""

    name: str
    told: Told
    begin: float
    known_seconds: float
    service: float
    latencies: list[float]
    sent_late: float
    failed: dict[str, int]
    sizes: Steps
    held: Steps
    starts: list[float]
    ends: list[float]
    learned: dict[str, Any]
    decisions: list[tuple[float, dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Simulated:
    """The same run foretold. ``range``: the least and the most replica-seconds of all ways; then the
    constants that were measured, in seconds."""

    told: Told
    range: tuple[float, float]
    cold_start: float
    learned_cold_start: float
    leaves: float
    sizes: Steps
    held: Steps


def settings(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m e2e.bench.validate", description=__doc__)
    add = parser.add_argument
    add("--trace", type=Path, help="a CSV as `preamar simulate` reads it, instead of --load")
    add("--load", default="bursty-1", choices=sorted(LOADS), help="a generated load")
    add("--seed", type=int, default=1)
    add("--begin", type=float, default=0.0, help="where in the load to begin, in its own seconds")
    add("--seconds", type=float, default=300.0, help="how long a run is, in real seconds")
    add("--speed", type=float, default=5.0, help="how many times faster than the load")
    add("--runs", type=int, default=3)
    add("--slots", type=int, default=4)
    add("--service", type=float, default=0.4, help="seconds of a request on a replica")
    add("--goal", type=float, default=2.0, help="seconds from arrival to answer")
    add("--max", type=int, default=8)
    add("--out", type=Path, default=OUT)
    add("--recorded", type=Path, help="a validate.json: only foretell its runs anew")
    return parser.parse_args(arguments)


def arrivals(wanted: argparse.Namespace) -> list[float]:
    """Seconds since the first request, in real time. Raises ``BadTrace``."""
    whole = read_trace(wanted.trace) if wanted.trace else generate(wanted.load, wanted.seed)
    end = wanted.begin + wanted.seconds * wanted.speed
    part = [one.at for one in whole if wanted.begin <= one.at < end]
    if not part:
        raise BadTrace(f"no request between {wanted.begin:g} s and {end:g} s: choose another part")
    return [(at - part[0]) / wanted.speed for at in part]


def warm(here: Cluster, kube: Kube, namespace: str, name: str, service: float) -> float:
    """Load the model once, let the operator learn how long a request takes, and say it: the median
    of those after the first, which find all connections made."""
    loaded(kube, namespace, [name])
    apart = [number * (service + 0.1) for number in range(WARMING)]
    asked = asyncio.run(replay(here, name, apart, [service] * WARMING, time.time()))
    if failed := troubles(asked):
        raise NotInTimeError(f"requests to warm {name} failed: {dict(failed)}")
    return statistics.median(one.seconds for one in asked[WARMING // 2 :])


def sleeping(kube: Kube, namespace: str, names: Sequence[str]) -> None:
    """Wait until the operator has put all to sleep and their pods are gone."""

    def look() -> bool:
        sizes = [s["spec"]["replicas"] for s in kube.list(OURS, KIND, namespace)]
        pods = kube.list("v1", "Pod", namespace, "preamar.dev/inferenceservice")
        return not any(sizes) and not pods

    until(f"{', '.join(names)} sleep", 240, look, every=1.0)


def told(latencies: list[float], goal: float, sizes: Steps, paid: Steps, end: float) -> Told:
    """The figures of a run that began at 0."""
    ordered = sorted(latencies)
    return Told(
        held_seconds=area(paid, 0.0, end),
        asked_seconds=area(sizes, 0.0, end),
        share=sum(one <= goal for one in ordered) / len(ordered),
        median=ordered[len(ordered) // 2],
        p99=ordered[int(0.99 * (len(ordered) - 1))],
        peak=max((count for at, count in sizes if at <= end), default=0),
        changes=sum(0.0 < at <= end for at, _ in sizes),
    )


def real(
    here: Cluster,
    kube: Kube,
    namespace: str,
    name: str,
    wanted: argparse.Namespace,
    service: float,
) -> Real:
    """Replay the load on the cluster."""
    due = arrivals(wanted)
    watched = Watched(kube, namespace, name, int(due[-1] + LONGEST_DRAIN) + 600)
    begin = time.time() + 2.0
    asked = asyncio.run(replay(here, name, due, [wanted.service] * len(due), begin))
    time.sleep(1.0)
    watched.stop()
    end = max(one.due + one.seconds for one in asked if not one.trouble) - begin
    pods = list(watched.pods.values())
    sizes = shifted(watched.sizes, begin)
    paid = shifted(held(watched.sizes, pods), begin)
    latencies = [one.seconds for one in asked]
    return Real(
        name=name,
        told=told(latencies, wanted.goal, sizes, paid, end),
        begin=begin,
        known_seconds=begin - operator_since(kube),
        service=service,
        latencies=latencies,
        sent_late=max(one.late for one in asked),
        failed=dict(troubles(asked)),
        sizes=sizes,
        held=paid,
        starts=replicas.starts(watched.sizes, pods, begin),
        ends=replicas.ends(watched.sizes, pods, begin),
        learned=watched.learned,
        decisions=[(at - begin, one) for at, one in watched.decisions],
    )


def shifted(steps: Steps, by: float) -> Steps:
    return [(at - by, count) for at, count in steps]


def simulated(wanted: argparse.Namespace, measured: Real) -> Simulated:
    """The same load in the simulator, from where the operator's memory of arrivals begins, with
    one request there: it tells how long one takes, and the service sleeps again afterwards.

    What happens within a second is chance on the cluster too: where a second begins in the load,
    and how long after it the operator hears of it. So it is tried in several ways, and the one in
    the middle, by replica-seconds, is what is foretold.
    """
    begin = max(min(measured.known_seconds, MEMORY_SECONDS), ASLEEP_AFTER)
    learned = float(measured.learned.get("coldStartSeconds", USUAL_START))
    world = World(wanted.slots, middle(measured.starts, USUAL_START), wanted.goal, 0, wanted.max)
    leaves = middle(measured.ends, USUAL_END)
    tries = []
    for way in range(WAYS):
        since = begin + way / WAYS
        due = [since + at for at in arrivals(wanted)]
        load = LoadTrace("replayed", [0.0, *due], [measured.service] * (1 + len(due)))
        # The operator counts on what it learned, in whole seconds; replicas start as they do.
        told_rule = preamar(
            replace(world, cold_start=learned), {"queueSeconds": wanted.goal - wanted.service}
        )
        rule = replace(told_rule, offset=way * STRIDE % WAYS / WAYS)
        outcome = run(load, world, rule)
        latencies = outcome.latencies[1:]
        end = max(at + latency for at, latency in zip(due, latencies, strict=True)) - since
        sizes = shifted(outcome.decisions, since)
        paid = lingering(sizes, leaves)
        tries.append((told(latencies, wanted.goal, sizes, paid, end), sizes, paid))
    tries.sort(key=lambda one: one[0].held_seconds)
    figures, sizes, paid = tries[len(tries) // 2]
    return Simulated(
        told=replace(
            figures,
            asked_seconds=statistics.median(one.asked_seconds for one, _, _ in tries),
            share=statistics.median(one.share for one, _, _ in tries),
        ),
        range=(tries[0][0].held_seconds, tries[-1][0].held_seconds),
        cold_start=world.cold_start,
        learned_cold_start=learned,
        leaves=leaves,
        sizes=sizes,
        held=paid,
    )


def operator_since(kube: Kube) -> float:
    """When the operator that counts arrivals started, in seconds of the wall clock."""
    pods = kube.list("v1", "Pod", SYSTEM, "app.kubernetes.io/component=operator")
    begun = [
        datetime.fromisoformat(container["state"]["running"]["startedAt"])
        for pod in pods
        for container in pod["status"]["containerStatuses"]
        if "running" in container["state"]
    ]
    return max(at.timestamp() for at in begun)


def differences(pairs: Sequence[tuple[Real, Simulated]]) -> dict[str, list[float]]:
    """How far the simulator was off in each run, as a share of what was real."""
    return {
        what: [getattr(s.told, what) / getattr(r.told, what) - 1.0 for r, s in pairs]
        for what in ("held_seconds", "asked_seconds", "share")
    }


def report(pairs: Sequence[tuple[Real, Simulated]]) -> bool:
    """The table; whether both figures are within the tolerance."""
    print(
        f"{'run':<12}{'replica-s':>10}{'asked':>8}{'in goal':>9}{'p50 s':>7}{'p99 s':>7}"
        f"{'peak':>6}{'changes':>9}{'failed':>8}"
    )
    for number, (measured, foretold) in enumerate(pairs, 1):
        failed = str(sum(measured.failed.values()))
        for what, one, lost in (("real", measured.told, failed), ("simulated", foretold.told, "")):
            print(
                f"{number} {what:<10}{one.held_seconds:>10.0f}{one.asked_seconds:>8.0f}"
                f"{one.share:>9.1%}{one.median:>7.2f}{one.p99:>7.2f}{one.peak:>6}"
                f"{one.changes:>9}{lost:>8}"
            )
    off = {what: statistics.median(map(abs, each)) for what, each in differences(pairs).items()}
    for what, words in (
        ("held_seconds", "replica-seconds, order to gone"),
        ("asked_seconds", "replica-seconds, as asked for"),
        ("share", "share within the goal"),
    ):
        print(f"{words}: off by {off[what]:.1%} (median of {len(pairs)})")
    met = off["held_seconds"] <= TOLERANCE and off["share"] <= TOLERANCE
    print(f"within {TOLERANCE:.0%}: {'yes' if met else 'no'}")
    return met


def measured(here: Cluster, kube: Kube, wanted: argparse.Namespace) -> list[Real]:
    """Every run, each on a service of its own, so that none remembers the one before."""
    names = [f"waiter-{number}" for number in range(1, wanted.runs + 1)]
    wait = wanted.goal - wanted.service
    with place(here, kube) as namespace:
        seed_waiter(kube, namespace)
        alone = {}
        for name in names:
            kube.apply(a_waiter(name, wanted.slots, wait, wanted.max), namespace)
            alone[name] = warm(here, kube, namespace, name, wanted.service)
        print("waiting until the operator has put all to sleep", flush=True)
        sleeping(kube, namespace, names)
        found = []
        for name in names:
            print(f"{name}: {wanted.seconds:g} s of requests", flush=True)
            found.append(real(here, kube, namespace, name, wanted, alone[name]))
            kube.delete(OURS, KIND, name, namespace)
            time.sleep(15.0)  # its replicas go, and the machine is at rest
        return found


def recorded(path: Path, wanted: argparse.Namespace) -> list[Real]:
    """The runs of an earlier measurement, and its world into ``wanted``."""
    before = json.loads(path.read_text())
    world = before["world"]
    world["trace"] = Path(world["trace"]) if world["trace"] else None
    vars(wanted).update(world)
    return [Real(**{**one["real"], "told": Told(**one["real"]["told"])}) for one in before["runs"]]


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when it was measured, met or not; 1 when it could not be."""
    wanted = settings(arguments)
    try:
        if wanted.recorded:
            found = recorded(wanted.recorded, wanted)
        else:
            here = cluster.read()
            found = measured(here, Kube(here.kubeconfig), wanted)
    except (FileNotFoundError, NoAuditLogError, NotInTimeError, BadTrace) as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 1
    pairs = [(one, simulated(wanted, one)) for one in found]
    met = report(pairs)
    wanted.out.mkdir(parents=True, exist_ok=True)
    world = {k: v for k, v in vars(wanted).items() if k not in {"out", "recorded"}}
    result = {
        "world": world,
        "tolerance": TOLERANCE,
        "met": met,
        "differences": differences(pairs),
        "runs": [{"real": asdict(r), "simulated": asdict(s)} for r, s in pairs],
    }
    (wanted.out / "validate.json").write_text(json.dumps(result, indent=1, default=str) + "\n")
    plot(wanted.out / "validate.png", arrivals(wanted), wanted, pairs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
