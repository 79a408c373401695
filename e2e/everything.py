"""`make test`: all tests, from the quickest to those that need a real cluster.

What takes long to build starts first, in the background, while the rings that need none of it run. A
cluster that this run brought up is taken down again; one that was up before is left as it was.
"""

import subprocess
import sys

from e2e.stages import PYTHON, ROOT, Outcome, Stage, report, run

BUILDS = (PYTHON, "-m", "e2e.clusters", "images")
CLUSTER_FILE = ROOT / "build/cluster.json"


def pytest(*arguments: str) -> tuple[str, ...]:
    return (PYTHON, "-m", "pytest", "-q", "--durations=5", *arguments)


RINGS = (
    Stage("check", ("make", "check"), deadline=420),
    Stage("contract tests", pytest("-m", "apiserver and not image", "tests"), deadline=1800),
    Stage(
        "workload tests",
        pytest("-m", "slow and not apiserver and not cluster and not image", "tests"),
        deadline=900,
    ),
)
JOURNEYS = (
    Stage("images", BUILDS, deadline=1800),
    Stage("DeepSpeed tests", ("make", "test-deepspeed"), ("images",), deadline=900),
    Stage("cluster up", (PYTHON, "-m", "e2e.clusters", "up"), ("images",), deadline=900),
    Stage("cluster DNS", (PYTHON, "-m", "e2e.clusters", "dns"), ("cluster up",), deadline=900),
    Stage("load images", BUILDS, ("cluster up",), deadline=900),
    Stage("journeys", pytest("e2e/journeys"), ("cluster DNS", "load images"), deadline=1800),
)


def main() -> int:
    log = ROOT / "build/builds.log"
    log.parent.mkdir(exist_ok=True)
    was_up = CLUSTER_FILE.exists()
    print(f"building images in the background; the log is {log.relative_to(ROOT)}", flush=True)
    with log.open("w") as out:
        builds = subprocess.Popen(
            ("nice", "-n", "5", *BUILDS), cwd=ROOT, stdout=out, stderr=out, start_new_session=True
        )
    outcomes: list[Outcome] = run(RINGS)
    outcomes += run(JOURNEYS)
    builds.wait()
    if not was_up:
        outcomes += run((Stage("cluster down", (PYTHON, "-m", "e2e.clusters", "down")),))
    return report(outcomes)


if __name__ == "__main__":
    sys.exit(main())
