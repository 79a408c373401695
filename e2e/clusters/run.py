"""How other programs are called: always with a deadline, and with the reason when they fail.

What a program prints goes to a log file when one is named; a failure shows the file's path and its
last lines, so that nobody has to search for them.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from e2e.clusters.say import TroubleError

LAST_LINES = 15
RUNNING: "set[subprocess.Popen[bytes]]" = set()


def call(
    argv: Sequence[str | Path],
    *,
    timeout: float,
    log: Path | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
    hint: str = "",
) -> str:
    """Run ``argv`` and return what it printed; ``TroubleError`` when it fails or takes too long.

    The whole process group ends with the deadline, because builds start children of their own.
    """
    command = [str(part) for part in argv]
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
    out = log.open("wb") if log else subprocess.PIPE
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT if log else subprocess.PIPE,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise TroubleError(f"{command[0]} was not found. {hint}".strip()) from None
    finally:
        if log:
            out.close()
    RUNNING.add(process)
    try:
        printed, errors = process.communicate(
            stdin.encode() if stdin is not None else None, timeout=timeout
        )
    except BaseException as error:
        end_group(process)
        if isinstance(error, subprocess.TimeoutExpired):
            raise TroubleError(
                f"{' '.join(command[:3])} was not done after {timeout:.0f} s. {tail(log)}{hint}"
            ) from None
        raise
    finally:
        RUNNING.discard(process)
    if process.returncode:
        said = tail(log) if log else last((errors or b"") + (printed or b""))
        raise TroubleError(
            f"{' '.join(command[:4])} failed (exit {process.returncode}). {said}{hint}"
        )
    return (printed or b"").decode(errors="replace")


def end_all() -> None:
    """End what other threads are running: they sit in groups of their own and would outlive us."""
    for process in tuple(RUNNING):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def succeeds(argv: Sequence[str | Path], timeout: float = 20.0) -> bool:
    """Whether a command is there and ends well."""
    try:
        call(argv, timeout=timeout)
    except TroubleError:
        return False
    return True


def tail(log: Path | None) -> str:
    if log is None or not log.exists():
        return ""
    return f"The log is {log}. " + last(log.read_bytes()[-20_000:])


def last(printed: bytes) -> str:
    lines = printed.decode(errors="replace").strip().splitlines()[-LAST_LINES:]
    return "It said:\n" + "".join(f"    {line}\n" for line in lines) if lines else ""


def end_group(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)
