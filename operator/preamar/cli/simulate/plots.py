"""What does it look like? Replicas over time against demand, and what each share of kept goals costs.

``replicas.png``: the work that arrived, in replicas that it would fill, and what each policy had.
``pareto.png``: to the left is cheaper, higher is better. Blue is ours, green knows what comes, red
is tuned to the trace, orange has its published defaults.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from preamar.cli.simulate.engine import SimulationResult, World
from preamar.cli.simulate.policies import FIXED, OPTIMUM, OURS, TUNED, Result
from preamar.cli.simulate.trace import LoadTrace

COLOURS = {
    OURS: "#0b6e99", FIXED: "#777777",
    OPTIMUM: "#2f8f4e", f"{OPTIMUM}-ahead-1": "#2f8f4e", f"{OPTIMUM}-ahead-2": "#2f8f4e",
}  # fmt: skip
TUNED_COLOUR, DEFAULT_COLOUR = "#d1495b", "#e0952b"
MARKERS = "oosDv^<>ppXPdH*"
WIDTH, HEIGHT = 9.0, 5.0


def plot(out: Path, load: LoadTrace, world: World, results: Sequence[Result], share: float) -> None:
    """Write both pictures. Raises ``OSError``."""
    over_time(out / "replicas.png", load, world, results, share)
    pareto(out / "pareto.png", load, results, share)


def over_time(
    path: Path, load: LoadTrace, world: World, results: Sequence[Result], share: float
) -> None:
    """Replicas ready and starting, a panel for each of the policies that matter most."""
    shown = chosen(results, share)
    figure = Figure(figsize=(WIDTH, 1.0 + 1.6 * len(shown)), layout="constrained")
    panels = figure.subplots(len(shown), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, result in zip(panels, shown, strict=True):
        _demand(axes, load, world)
        colour = COLOURS.get(result.policy, TUNED_COLOUR if _tuned(result) else DEFAULT_COLOUR)
        _steps(axes, result.outcome, colour)
        outcome = result.outcome
        axes.set_title(
            f"{result.policy}: {outcome.within_goal:.1%} within {outcome.goal:g} s, "
            f"{outcome.replica_seconds:,.0f} replica-seconds",
            fontsize=9, loc="left",
        )  # fmt: skip
        axes.set_ylabel("replicas", fontsize=8)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        axes.tick_params(labelsize=8)
    panels[0].set_ylim(bottom=0)
    panels[0].legend(fontsize=7, loc="upper right", ncols=3)
    panels[-1].set_xlabel("seconds", fontsize=8)
    figure.savefig(path, dpi=110)


def chosen(results: Sequence[Result], share: float) -> list[Result]:
    """Ours, the optimum, the cheapest tuned rule that keeps the share, and the best default."""
    if len(results) <= 2:
        return list(results)
    by_name = {result.policy: result for result in results}
    shown = [by_name[name] for name in (OURS, OPTIMUM) if name in by_name]
    rest = [r for r in results if not r.policy.startswith((OURS, OPTIMUM, FIXED))]
    for tuned in (True, False):
        group = [r for r in rest if r.policy.endswith(TUNED) == tuned]
        if group:
            shown.append(min(group, key=lambda r: _order(r.outcome, share)))
    return shown


def _order(outcome: SimulationResult, share: float) -> tuple[float, float]:
    """First by what is missing of the share, then by cost."""
    return max(0.0, share - outcome.within_goal), outcome.replica_seconds


def _demand(axes: Axes, load: LoadTrace, world: World) -> None:
    """Work that arrives, averaged over short spans, in replicas that it would keep busy."""
    width = max(10.0, load.seconds / 360)
    edges = np.arange(0.0, load.seconds + width, width)
    work, _ = np.histogram(load.arrivals, bins=edges, weights=load.service)
    axes.stairs(
        work / width / world.slots, edges, fill=True, color="#d9dee3", label="work that arrives"
    )


def _steps(axes: Axes, outcome: SimulationResult, colour: str) -> None:
    times = np.array([change.at for change in outcome.timeline])
    ready = np.array([change.ready for change in outcome.timeline])
    held = ready + np.array([change.starting for change in outcome.timeline])
    axes.step(times, held, where="post", color=colour, lw=0.8, ls=":", label="ordered")
    axes.step(times, ready, where="post", color=colour, lw=1.3, label="ready")


def pareto(path: Path, load: LoadTrace, results: Sequence[Result], share: float) -> None:
    """Share of requests within the goal against replica-seconds, with a name at each point."""
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    axes = figure.subplots()
    for number, result in enumerate(results):
        outcome = result.outcome
        colour = COLOURS.get(result.policy, TUNED_COLOUR if _tuned(result) else DEFAULT_COLOUR)
        late = max(1.0 - outcome.within_goal, 1e-4)
        axes.plot(
            outcome.replica_seconds, late, MARKERS[number % len(MARKERS)], color=colour, ms=8,
            mec="white", ls="none", label=result.policy,
        )  # fmt: skip
    axes.axhline(max(1.0 - share, 1e-4), color="#9a9a9a", lw=0.8, ls="--")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _place: f"{value:,.0f}")
    axes.xaxis.set_minor_formatter(lambda value, _place: f"{value:,.0f}")
    axes.tick_params(axis="x", which="both", labelsize=7)
    axes.set_yscale("log")
    axes.invert_yaxis()
    axes.set_xlabel("replica-seconds, from order to removal (left is cheaper)", fontsize=9)
    axes.set_ylabel("share of requests beyond the goal (up is better; 0 at 0.0001)", fontsize=9)
    axes.set_title(f"{load.name}: what each policy kept and cost", fontsize=10, loc="left")
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.savefig(path, dpi=110)


def _tuned(result: Result) -> bool:
    return result.policy.endswith(TUNED)
