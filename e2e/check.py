"""`make check`: is the tree fit to commit? Everything that needs seconds and no cluster."""

import sys

from e2e.stages import PYTHON, Stage, report, run

STAGES = (
    Stage("format", (PYTHON, "-m", "ruff", "format", "--check", "--quiet", ".")),
    Stage("lint", (PYTHON, "-m", "ruff", "check", "--quiet", ".")),
    Stage("types", (PYTHON, "-m", "mypy")),
    Stage("import contracts", (f"{sys.prefix}/bin/lint-imports", "--no-cache")),
    Stage("generated files", (PYTHON, "-m", "preamar.api.crd", "--check")),
    Stage(
        "unit and property tests",
        (
            PYTHON,
            "-m",
            "pytest",
            "-q",
            "-m",
            "not apiserver and not cluster and not image and not slow",
            "tests",
        ),
    ),
)

if __name__ == "__main__":
    sys.exit(report(run(STAGES)))
