"""How a row of commands is run, timed and summed up.

Each stage is one command with a deadline. Its output is shown as it comes, or as a whole where stages
run beside each other; the table at the end says where the time went. A failed stage does not hide the
ones after it unless they need it.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[1]
PYTHON = sys.executable
RUNNING: set[subprocess.Popen[bytes]] = set()  # by stages that run beside each other


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
    return outcome(stage, time.monotonic(), begin(stage, None))


def begin(stage: Stage, out: IO[bytes] | None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        stage.command,
        cwd=ROOT,
        start_new_session=True,
        stdout=out,
        stderr=out and subprocess.STDOUT,
    )


def outcome(stage: Stage, start: float, process: subprocess.Popen[bytes]) -> Outcome:
    """Wait for a stage that began at ``start``, and end it at its deadline."""
    try:
        code = process.wait(max(0.0, start + stage.deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        print(f"{stage.name}: not done after {stage.deadline:.0f} s, ended", flush=True)
        code = end(process)
    except BaseException:
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


def run(rows: Sequence[Stage | tuple[Stage, ...]]) -> list[Outcome]:
    """Run stages in order, those of a tuple beside each other; one whose needs failed is `not run`,
    which counts as a failure."""
    outcomes: dict[str, Outcome] = {}
    for row in rows:
        able: list[Stage] = []
        for stage in row if isinstance(row, tuple) else (row,):
            missing = [need for need in stage.needs if outcomes[need].state != "passed"]
            if missing:
                print(f"\n=== {stage.name}: not run, it needs {', '.join(missing)}", flush=True)
                outcomes[stage.name] = Outcome(stage.name, "not run", 0.0)
            else:
                able.append(stage)
        if len(able) > 1:
            names = ", ".join(stage.name for stage in able)
            print(f"\n=== beside each other, each shown when it has ended: {names}", flush=True)
            found = beside(able, len(able))
        else:
            found = [call(stage) for stage in able]
        outcomes |= {outcome.name: outcome for outcome in found}
    return list(outcomes.values())


def beside(stages: Sequence[Stage], at_once: int) -> list[Outcome]:
    """Run stages that need nothing of each other, ``at_once`` of them at a time, in order of their
    beginning; each is shown when it has ended."""
    with ThreadPoolExecutor(at_once) as pool:
        begun = [pool.submit(quietly, stage) for stage in stages]
        try:
            return [future.result() for future in as_completed(begun)]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(RUNNING):
                end(process)
            raise


def quietly(stage: Stage) -> Outcome:
    """One stage with its output kept until it ended."""
    start = time.monotonic()
    with tempfile.TemporaryFile() as out:
        try:
            process = begin(stage, out)
        except OSError as error:
            print(f"=== {stage.name}: it cannot be started: {error}", flush=True)
            return Outcome(stage.name, "failed", 0.0)
        RUNNING.add(process)
        try:
            found = outcome(stage, start, process)
        finally:
            RUNNING.discard(process)
        out.seek(0)
        text = out.read().decode(errors="replace").rstrip()
    command = f": {' '.join(stage.command)}" if found.state == "failed" else ""
    said = f"\n{text}" if text else ""
    print(f"=== {stage.name}: {found.state} in {found.seconds:.1f} s{command}{said}", flush=True)
    return found


def report(outcomes: Sequence[Outcome], whole: float | None = None) -> int:
    """Print where the time went, ``whole`` seconds where stages ran beside each other; the exit code
    is 1 if anything did not pass."""
    width = max(len(outcome.name) for outcome in outcomes)
    print(f"\n{'stage':<{width}}  {'time':>8}  result")
    for outcome in outcomes:
        minutes, seconds = divmod(round(outcome.seconds), 60)
        print(f"{outcome.name:<{width}}  {minutes:>4}:{seconds:02d}  {outcome.state}")
    total = sum(outcome.seconds for outcome in outcomes) if whole is None else whole
    good = sum(outcome.state == "passed" for outcome in outcomes)
    taken = f"{total:.0f} s" if total < 120 else f"{total / 60:.1f} min"
    print(f"{len(outcomes)} stages in {taken}")
    print(f"stages: {good} passed, {len(outcomes) - good} failed", flush=True)
    return int(good != len(outcomes))
