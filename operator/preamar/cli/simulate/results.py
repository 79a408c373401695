"""What is written of a simulation: one summary, a timeline for each policy, and a table to read.

Times in the timelines are written in full, so that who replays one gets the very same figures.
"""

import csv
import json
from collections.abc import Sequence
from math import isfinite
from pathlib import Path

from preamar.cli.simulate.engine import SimulationResult
from preamar.cli.simulate.policies import Result

Row = dict[str, str | float | int | None]


def summary(results: Sequence[Result]) -> list[Row]:
    """A row for each policy; a percentile is None where such a request was never answered."""
    return [
        {
            "policy": result.policy,
            "within_goal": result.outcome.within_goal,
            "replica_seconds": result.outcome.replica_seconds,
            "p50_seconds": _finite(result.outcome.percentile(0.5)),
            "p99_seconds": _finite(result.outcome.percentile(0.99)),
            "scale_events": result.outcome.scale_events,
        }
        for result in results
    ]


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None


def write(out: Path, results: Sequence[Result], facts: Row) -> None:
    """``summary.json``, ``settings.json`` and a CSV for each policy. Raises ``OSError``."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "summary.json").write_text(json.dumps(summary(results), indent=1) + "\n")
    told = {r.policy: {"settings": dict(r.settings), "note": r.note} for r in results}
    (out / "settings.json").write_text(json.dumps({**facts, "policies": told}, indent=1) + "\n")
    for result in results:
        write_timeline(out / f"{result.policy}.csv", result.outcome)


def write_timeline(path: Path, outcome: SimulationResult) -> None:
    """A row for each change, and one for the end."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("seconds", "replicas_ready", "replicas_starting", "queue"))
        rows.writerows((c.at, c.ready, c.starting, c.queue) for c in outcome.timeline)


def table(results: Sequence[Result]) -> str:
    """For a person: a line for each policy."""
    lines = [
        f"{'policy':<22}{'within goal':>12}{'replica-seconds':>17}{'p50 s':>8}{'p99 s':>8}{'events':>8}"
    ]
    for result in results:
        outcome = result.outcome
        settings = ", ".join(f"{name} {value:g}" for name, value in result.settings.items())
        lines.append(
            f"{result.policy:<22}{outcome.within_goal:>11.2%} {outcome.replica_seconds:>16,.0f}"
            f"{outcome.percentile(0.5):>8.1f}{outcome.percentile(0.99):>8.1f}"
            f"{outcome.scale_events:>8}  {'; '.join(filter(None, (settings, result.note)))}".rstrip()
        )
    return "\n".join(lines)
