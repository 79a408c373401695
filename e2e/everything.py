"""`make test`: all tests, from the quickest to those that need a real cluster.

What takes long to build starts first, in the background, while the rings that need none of it run. A
cluster that this run brought up is taken down again; one that was up before is left as it was.
"""

import shutil
import subprocess
import sys

from e2e import timing
from e2e.stages import PYTHON, ROOT, Outcome, Stage, end, report, run

BUILDS = (PYTHON, "-m", "e2e.clusters", "images")
CLUSTER_FILE = ROOT / "build/cluster.json"


def pytest(name: str, *arguments: str) -> tuple[str, ...]:
    return (PYTHON, "-m", "pytest", "-q", *timing.written(timing.TIMES / "test", name), *arguments)


# Journeys that mostly wait, and touch nothing but what is theirs: they run beside each other, each group
# in a namespace of its own. All others load, replace or watch the operator and the gateways.
TRAINING = ("training", "resize", "places", "prepared_data", "cli")
SERVING = ("canary", "optimized", "sources", "group", "engines", "bad_input")


def files(names: tuple[str, ...]) -> list[str]:
    return [f"e2e/journeys/test_{name}.py" for name in names]


RINGS = (
    Stage("check", ("make", "check"), deadline=900),
    Stage(
        "contract tests",
        pytest("contract", "-m", "apiserver and not image", "tests"),
        deadline=1800,
    ),
    Stage(
        "workload tests",
        pytest("workloads", "-m", "slow and not apiserver and not cluster and not image", "tests"),
        deadline=900,
    ),
)
# `up` builds what it needs beside the cluster and loads it; the stage after it waits for the rest.
JOURNEYS = (
    Stage("cluster up", (PYTHON, "-m", "e2e.clusters", "up"), deadline=1800),
    Stage("images", BUILDS, deadline=1800),
    Stage(
        "DeepSpeed tests",
        pytest("deepspeed", "tests/workloads/deepspeed/image"),
        ("images",),
        deadline=1500,
    ),
    Stage("cluster DNS", (PYTHON, "-m", "e2e.clusters", "dns"), ("cluster up",), deadline=900),
    (
        Stage(
            "journeys of training",
            pytest("training", "-p", "no:cacheprovider", "-rs", *files(TRAINING)),
            ("cluster DNS", "images"),
            deadline=2700,
        ),
        Stage(
            "journeys of serving",
            pytest("serving", "-p", "no:cacheprovider", "-rs", *files(SERVING)),
            ("cluster DNS", "images"),
            deadline=2700,
        ),
    ),
    Stage(
        "clients and all other journeys",
        pytest(
            "journeys", "-rs", "e2e/clients", "e2e/journeys",
            *(f"--ignore={file}" for file in files(TRAINING + SERVING)),
        ),
        ("cluster DNS", "images"),
        deadline=2700,
    ),
)  # fmt: skip


def main() -> int:
    shutil.rmtree(timing.TIMES, ignore_errors=True)
    slow = timing.slowness()
    log = ROOT / "build/builds.log"
    log.parent.mkdir(exist_ok=True)
    was_up = CLUSTER_FILE.exists()
    print(f"building images in the background; the log is {log.relative_to(ROOT)}", flush=True)
    with log.open("w") as out:
        builds = subprocess.Popen(
            ("nice", "-n", "5", *BUILDS), cwd=ROOT, stdout=out, stderr=out, start_new_session=True
        )
    try:
        outcomes: list[Outcome] = run(RINGS)
        outcomes += run(JOURNEYS)
    finally:
        if builds.poll() is None:  # the stage `images` has waited for it, or never will
            end(builds)
    if not was_up:
        outcomes += run((Stage("cluster down", (PYTHON, "-m", "e2e.clusters", "down")),))
    failed = report(outcomes)
    return timing.report(timing.read(timing.TIMES), timing.budgets(), slow) or failed


if __name__ == "__main__":
    sys.exit(main())
