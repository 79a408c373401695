"""`make bench`: every benchmark, one after the other; each prints its table and writes build/bench.

A benchmark is a module beside this one with a function ``main``; with names, only those. Each runs
in a process of its own, so that one that fails hides no other. Some need the cluster of `make up`.
"""

import ast
import sys
from collections.abc import Sequence
from pathlib import Path

from e2e.stages import PYTHON, Stage, report, run

HERE = Path(__file__).resolve().parent
DEADLINE_SECONDS = 3600.0


def benchmarks() -> list[str]:
    """The names of all benchmarks, without importing any."""
    return sorted(
        path.stem
        for path in HERE.glob("[!_]*.py")
        if any(
            isinstance(node, ast.FunctionDef) and node.name == "main"
            for node in ast.parse(path.read_text()).body
        )
    )


def main(names: Sequence[str]) -> int:
    """Run them; 1 if any could not be measured."""
    known = benchmarks()
    if unknown := sorted(set(names) - set(known)):
        print(
            f"there is no benchmark {unknown[0]}: choose from {', '.join(known)}", file=sys.stderr
        )
        return 2
    stages = [
        Stage(name, (PYTHON, "-m", f"e2e.bench.{name}"), deadline=DEADLINE_SECONDS)
        for name in names or known
    ]
    return report(run(stages))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
