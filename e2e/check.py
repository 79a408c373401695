"""`make check`: is the tree fit to commit? Everything that needs seconds and no cluster.

The stages need nothing of each other and run side by side, the longest first. Each room of tests is
in exactly one of them: the last takes what the others do not name. Two more stages run than there
are cores, because tests of processes wait more than they compute; each process of pytest costs
seconds of imports, so that what only waits, and has no server to share, is together in one.
"""

import os
import shutil
import sys
import time
from collections.abc import Sequence

from e2e import timing
from e2e.stages import PYTHON, Stage, beside, report

QUICK = ("-m", "not apiserver and not cluster and not image and not slow")
ROOMS = {
    "models": ("workloads/triton",),
    "gateway": ("gateway",),
    "waiting": (
        "workloads/triton/backends/test_language.py",
        "workloads/triton/remote",
        "workloads/deepspeed",
        "ledger",
        "demand",
    ),
}
"""What of `tests` has a process of its own."""
TIMES = timing.TIMES / "check"


def pytest(name: str, *arguments: str) -> tuple[str, ...]:
    # Several at once would write over each other's notes of what failed last.
    shown = ("-q", "-p", "no:cacheprovider", *timing.written(TIMES, name))
    return (PYTHON, "-m", "pytest", *shown, *QUICK, *arguments)


def tests() -> tuple[Stage, ...]:
    """A stage for each row of rooms, and one for all the others."""
    named = {row: [f"tests/{room}" for room in rooms] for row, rooms in ROOMS.items()}
    every = [place for places in named.values() for place in places]
    named["all others"] = ["tests"]
    return tuple(
        Stage(f"tests: {row}", pytest(row.replace(" ", "-"), *places, *_but(every, places)))
        for row, places in named.items()
    )


def _but(every: Sequence[str], places: Sequence[str]) -> list[str]:
    """What of these places has a stage of its own."""
    inside = tuple(f"{place}/" for place in places)
    return [f"--ignore={place}" for place in every if place.startswith(inside)]


STAGES = (
    *tests(),
    Stage("types", (PYTHON, "-m", "mypy")),
    Stage("import contracts", (f"{sys.prefix}/bin/lint-imports", "--no-cache")),
    Stage("generated files", (PYTHON, "-m", "preamar.api.crd", "--check")),
    Stage("chart presets", (PYTHON, "-m", "e2e.presets", "--check")),
    Stage("lint", (PYTHON, "-m", "ruff", "check", "--quiet", ".")),
    Stage("format", (PYTHON, "-m", "ruff", "format", "--check", "--quiet", ".")),
)


def main() -> int:
    start = time.monotonic()
    at_once = (os.cpu_count() or 1) + 2
    print(f"{len(STAGES)} stages, {at_once} at once; each is shown when it has ended", flush=True)
    shutil.rmtree(TIMES, ignore_errors=True)
    slow = timing.slowness()
    failed = report(beside(STAGES, at_once), time.monotonic() - start)
    too_slow = timing.report(timing.read(TIMES), timing.budgets(), slow)
    print(f"CPU time of all stages: {timing.cpu_seconds():.0f} s", flush=True)
    return failed or too_slow


if __name__ == "__main__":
    sys.exit(main())
