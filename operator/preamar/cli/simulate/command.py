"""``preamar simulate``: what would each way of sizing have done with this load?

Needs no cluster. Bad input is one sentence on stderr and exit code 2; what cannot run is one
sentence and exit code 1.
"""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from preamar.cli.simulate.engine import World
from preamar.cli.simulate.generate import LOADS, generate, write_trace
from preamar.cli.simulate.trace import (
    BadTrace,
    LoadTrace,
    ServiceModel,
    load,
    read_service_model,
    read_trace,
)
from preamar.cli.usage import BadUsage

ALL = "all"
MOST_REPLICAS = 1000


@dataclass(frozen=True, slots=True)
class SimulationRequest:
    """What the user asked for."""

    load: LoadTrace
    world: World
    share: float
    policy: str
    out: Path


def run(arguments: Sequence[str]) -> int:
    """Run the command with the arguments after its name; returns the exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        order = _order(given)
    except (BadUsage, BadTrace) as error:
        sys.stderr.write(f"preamar simulate: {error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"preamar simulate: {given.out} cannot be written: {error.strerror}\n")
        return 1
    try:
        return _simulate(order)
    except BadUsage as error:
        sys.stderr.write(f"preamar simulate: {error}\n")
        return 2
    except ModuleNotFoundError as error:
        if error.name not in {"numpy", "matplotlib"}:
            raise
        sys.stderr.write(
            f"preamar simulate: {error.name} is not installed: pip install numpy matplotlib, or make setup in a clone\n"
        )
        return 1
    except OSError as error:
        sys.stderr.write(f"preamar simulate: {order.out} cannot be written: {error}\n")
        return 1


def _simulate(order: SimulationRequest) -> int:
    from preamar.cli.simulate.clairvoyant import bound
    from preamar.cli.simulate.plots import plot
    from preamar.cli.simulate.policies import policies
    from preamar.cli.simulate.progress import progress
    from preamar.cli.simulate.results import table, write

    known = policies(order.world)
    names = list(known) if order.policy == ALL else [order.policy]
    if unknown := [name for name in names if name not in known]:
        raise BadUsage(f"there is no policy {unknown[0]}: choose all or one of {', '.join(known)}")
    order.out.mkdir(parents=True, exist_ok=True)
    results = []
    with progress("preamar simulate") as told:
        for count, name in enumerate(names, 1):
            told.doing = f"{name} ({count} of {len(names)})"
            results.append(known[name](order.load, order.world, order.share))
        told.doing = "writing"
        least = bound(order.load, order.world)
        world = order.world
        write(order.out, results, {
            "requests": len(order.load.arrivals), "seconds": order.load.seconds,
            "mean_service_seconds": order.load.mean_service, "share": order.share,
            "slots": world.slots, "cold_start_seconds": world.cold_start,
            "goal_seconds": world.goal, "min": world.min, "max": world.max,
            "lower_bound_replica_seconds": least,
        })  # fmt: skip
        plot(order.out, order.load, world, results, order.share)
    sys.stdout.write(
        f"{order.load.name}: {len(order.load.arrivals):,} requests in {order.load.seconds:,.0f} s, "
        f"{order.load.mean_service:.2f} s each; goal {world.goal:g} s for {order.share:.1%}\n"
        f"{table(results)}\n"
        f"no sizes cost less than {least:,.0f} replica-seconds: all work on full replicas\n"
        f"written to {order.out}: summary.json, settings.json, timelines and plots\n"
    )
    return 0


def _order(given: argparse.Namespace) -> SimulationRequest:
    """What was asked for, checked. Raises ``BadUsage``, ``BadTrace`` or ``OSError``."""
    least, most = given.min, given.max
    if least > most:
        raise BadUsage(f"--min {least} is above --max {most}: no size is allowed")
    if given.service_model:
        model = read_service_model(given.service_model)
    else:
        model = ServiceModel(seconds=given.service_seconds)
    if given.trace:
        name, requests = given.trace.stem, read_trace(given.trace)
    else:
        name, requests = f"{given.generate}-{given.seed}", generate(given.generate, given.seed)
    fed = load(name, requests, model)
    fastest = min(fed.service)
    if given.goal_seconds < fastest:
        raise BadUsage(
            f"--goal-seconds {given.goal_seconds:g} is below the {fastest:g} s that even the fastest request takes on a replica: no size can keep it"
        )
    slow = sum(1 for took in fed.service if took > given.goal_seconds)
    if slow:
        sys.stderr.write(
            f"preamar simulate: {slow} of {len(requests)} requests take longer than the goal even without waiting\n"
        )
    if given.generate:
        given.out.mkdir(parents=True, exist_ok=True)
        write_trace(given.out / "trace.csv", requests)
    world = World(given.slots, given.cold_start, given.goal_seconds, least, most)
    return SimulationRequest(fed, world, given.share, given.policy, given.out)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="preamar simulate",
        description="What would each way of sizing a service have done with this load? Needs no cluster.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--trace", type=Path, metavar="F.csv",
        help="timestamp,input_tokens,output_tokens; timestamps in seconds",
    )  # fmt: skip
    what.add_argument(
        "--generate", choices=list(LOADS), metavar="NAME",
        help=f"instead of a trace, one of {', '.join(LOADS)}; also written to DIR/trace.csv",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=1, help="of --generate [default: 1]")
    times = parser.add_mutually_exclusive_group(required=True)
    times.add_argument(
        "--service-seconds", type=_above_zero, metavar="S",
        help="each request takes that long on a replica",
    )  # fmt: skip
    times.add_argument(
        "--service-model", type=Path, metavar="FILE",
        help="YAML or JSON with seconds, perInputToken and perOutputToken, in seconds",
    )  # fmt: skip
    parser.add_argument(
        "--slots", type=_count(1, 100_000), required=True, metavar="N",
        help="requests that one replica runs at once",
    )  # fmt: skip
    parser.add_argument(
        "--cold-start", type=_from_zero, required=True, metavar="S",
        help="seconds from the order of a replica until it is ready",
    )  # fmt: skip
    parser.add_argument(
        "--goal-seconds", type=_above_zero, required=True, metavar="S",
        help="from a request's arrival to its answer",
    )  # fmt: skip
    parser.add_argument("--min", type=_count(0, MOST_REPLICAS), required=True, metavar="A")
    parser.add_argument("--max", type=_count(1, MOST_REPLICAS), required=True, metavar="B")
    parser.add_argument(
        "--share", type=_share, default=0.99, metavar="X",
        help="of requests that should keep the goal: for tuned rules, fixed and optimum [default: 0.99]",
    )  # fmt: skip
    parser.add_argument("--policy", default=ALL, metavar="NAME", help="all, or one [default: all]")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="made if missing")
    return parser


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return value


def _above_zero(text: str) -> float:
    value = _number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} must be above zero")
    return value


def _from_zero(text: str) -> float:
    value = _number(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} must not be below zero")
    return value


def _share(text: str) -> float:
    value = _number(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} must be above 0 and at most 1, such as 0.99")
    return value


def _count(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} must be from {least} to {most}")
        return value

    return read
