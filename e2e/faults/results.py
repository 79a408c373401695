"""What is known of which point? Kept in files, so that shards add up and a sweep that was cut off goes on.

The plan (what to try, and the end that each workload reaches without a fault) is made once for a
state of the sources; every shard takes its points from it. A point's result is a file of its own.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from e2e.faults.proxy import Point
from e2e.faults.sweep import Run

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "build/faults"
TRIED = ("operator/preamar/**/*.py", "crds/*.yaml", "e2e/faults/*.py", "uv.lock")
VERDICTS = ("passed", "failed", "not reached", "not run")


@dataclass(frozen=True, slots=True)
class Shard:
    """The ``index``-th of ``of`` parts, counted from 1."""

    index: int
    of: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Raises ``ValueError`` with a sentence."""
        index, _, of = text.partition("/")
        if not (index.isdigit() and of.isdigit() and 1 <= int(index) <= int(of)):
            raise ValueError(f"SHARD={text} is not i/n with i from 1 to n, such as 2/4.")
        return cls(int(index), int(of))

    def __str__(self) -> str:
        return f"{self.index}/{self.of}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What one sweep tries: for each workload the run to compare with and the points to crash at."""

    key: str
    wanted: dict[str, Run]
    points: tuple[tuple[str, Point], ...]

    def of(self, shard: Shard) -> tuple[tuple[str, Point], ...]:
        return self.points[shard.index - 1 :: shard.of]


def key(names: list[str], most: int) -> str:
    """Changes with all that decides how a point ends, so that no result outlives what it was of."""
    digest = sha256(f"{','.join(names)} {most}".encode())
    for file in sorted(file for pattern in TRIED for file in ROOT.glob(pattern)):
        digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def load(wanted: str) -> Plan | None:
    """The plan of that key, if it was made."""
    told = _read(KEPT / wanted / "plan.json")
    if told is None:
        return None
    return Plan(
        wanted,
        {name: Run(**run) for name, run in told["wanted"].items()},
        tuple((name, Point(write, side)) for name, write, side in told["points"]),
    )


def save(plan: Plan) -> None:
    told = {
        "wanted": {name: asdict(run) for name, run in plan.wanted.items()},
        "points": [[name, *point] for name, point in plan.points],
    }
    _write(KEPT / plan.key / "plan.json", told)


def remember(plan: Plan, result: Run) -> None:
    _write(_file(plan, result.workload, result.point), result.told())


def known(plan: Plan, name: str, point: Point) -> dict[str, Any] | None:
    """What came of a point, if it was tried."""
    told: dict[str, Any] | None = _read(_file(plan, name, str(point)))
    return told


def merged(plan: Plan) -> dict[str, Any]:
    """All points in the plan's order, whichever shard tried them, and how many ended how."""
    points = list(_told(plan))
    counted = [point["verdict"] for point in points]
    return {
        "sources": plan.key,
        "verdicts": {verdict: counted.count(verdict) for verdict in VERDICTS},
        "points": points,
    }


def write(report: dict[str, Any]) -> Path:
    """The whole report, replaced at once: shards may end together."""
    out = ROOT / "build/faults-operator.json"
    _write(out, report)
    return out


def _told(plan: Plan) -> Iterator[dict[str, Any]]:
    for name, point in plan.points:
        yield known(plan, name, point) or {
            "workload": name,
            "point": str(point),
            "verdict": "not run",
        }


def _file(plan: Plan, name: str, point: str) -> Path:
    place = point.replace("/", "_").replace(" ", "-").replace("#", "")
    return KEPT / plan.key / f"{name}-{place}.json"


def _read(file: Path) -> Any:
    return json.loads(file.read_text()) if file.is_file() else None


def _write(file: Path, told: Any) -> None:
    """Whoever is killed here leaves the old file or the new one, never half of one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    making = file.with_name(f".{file.name}.{os.getpid()}")
    making.write_text(json.dumps(told, indent=1) + "\n")
    making.replace(file)
