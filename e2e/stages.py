"""How a row of commands is run, timed and summed up.

Each stage is one command with a deadline. Its output is shown as it comes; the table at the end says
where the time went. A failed stage does not hide the ones after it unless they need it.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = sys.executable


@dataclass(frozen=True, slots=True)
class Stage:
    """A command, the stages it makes no sense without, and its deadline in seconds."""

    name: str
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()
    deadline: float = 600.0


@dataclass(frozen=True, slots=True)
class Outcome:
    name: str
    state: str  # passed | failed | not run
    seconds: float


def call(stage: Stage) -> Outcome:
    """Run one stage in a process group of its own, so that its deadline ends all it started."""
    print(f"\n=== {stage.name}: {' '.join(stage.command)}", flush=True)
    start = time.monotonic()
    process = subprocess.Popen(stage.command, cwd=ROOT, start_new_session=True)
    try:
        code = process.wait(stage.deadline)
    except subprocess.TimeoutExpired:
        print(f"{stage.name}: not done after {stage.deadline:.0f} s, ended", flush=True)
        code = end(process)
    except KeyboardInterrupt:
        end(process)
        raise
    return Outcome(stage.name, "failed" if code else "passed", time.monotonic() - start)


def end(process: subprocess.Popen[bytes]) -> int:
    """Ask the process group to stop, then make it."""
    for sign, patience in ((signal.SIGTERM, 20.0), (signal.SIGKILL, 20.0)):
        try:
            os.killpg(process.pid, sign)
            process.wait(patience)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
        break
    return 1


def run(stages: Sequence[Stage]) -> list[Outcome]:
    """Run stages in order; one whose needs failed is `not run`, which counts as a failure."""
    outcomes: dict[str, Outcome] = {}
    for stage in stages:
        missing = [need for need in stage.needs if outcomes[need].state != "passed"]
        if missing:
            print(f"\n=== {stage.name}: not run, it needs {', '.join(missing)}", flush=True)
            outcomes[stage.name] = Outcome(stage.name, "not run", 0.0)
        else:
            outcomes[stage.name] = call(stage)
    return list(outcomes.values())


def report(outcomes: Sequence[Outcome]) -> int:
    """Print where the time went; the exit code is 1 if anything did not pass."""
    width = max(len(outcome.name) for outcome in outcomes)
    print(f"\n{'stage':<{width}}  {'time':>8}  result")
    for outcome in outcomes:
        minutes, seconds = divmod(round(outcome.seconds), 60)
        print(f"{outcome.name:<{width}}  {minutes:>4}:{seconds:02d}  {outcome.state}")
    total = sum(outcome.seconds for outcome in outcomes)
    good = sum(outcome.state == "passed" for outcome in outcomes)
    print(f"{len(outcomes)} stages in {total / 60:.1f} min")
    print(f"stages: {good} passed, {len(outcomes) - good} failed", flush=True)
    return int(good != len(outcomes))
