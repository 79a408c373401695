"""Programs end at their deadline with all they started, and failures say why and where.

Holds: e2e/clusters/run.py, e2e/clusters/say.py, e2e/clusters/up.py
"""

import os
import time
from pathlib import Path

import pytest

from e2e.clusters.run import RUNNING, call
from e2e.clusters.say import TroubleError
from e2e.clusters.up import together


def test_a_failure_names_the_log_and_shows_its_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "build.log"
    with pytest.raises(TroubleError) as failed:
        call(["sh", "-c", "seq 100; echo no such package; exit 3"], timeout=60, log=log)
    said = str(failed.value)
    assert "exit 3" in said
    assert str(log) in said
    assert "no such package" in said
    assert "\n    42\n" not in said


def test_a_program_that_is_not_there_is_said_with_a_hint() -> None:
    with pytest.raises(TroubleError, match=r"not-a-program was not found\. Install it\."):
        call(["not-a-program"], timeout=60, hint="Install it.")


def test_the_deadline_ends_children_too(tmp_path: Path) -> None:
    pid_file, slept = tmp_path / "pid", tmp_path / "slept"
    script = f"sleep 600 & echo $! > {pid_file}; wait; touch {slept}"
    with pytest.raises(TroubleError, match="not done after"):
        call(["sh", "-c", script], timeout=0.5)
    assert not slept.exists()
    child = int(pid_file.read_text())
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and alive(child):
        time.sleep(0.05)
    assert not alive(child)


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(") ")[2][0] not in "ZX"


def test_what_a_program_prints_comes_back() -> None:
    assert call(["cat"], timeout=60, stdin="words") == "words"
    assert call(["sh", "-c", "echo $ONE"], timeout=60, env={"ONE": "1"}) == "1\n"
    assert "ONE" not in os.environ


def when_the_other_runs(error: BaseException) -> None:
    while not RUNNING:
        time.sleep(0.01)
    raise error


@pytest.mark.parametrize(
    "error", [SystemExit(143), TroubleError("no disk")], ids=["stop", "failure"]
)
def test_builds_of_other_threads_end_with_the_first_failure(
    error: BaseException, tmp_path: Path
) -> None:
    slept = tmp_path / "slept"
    long = ["sh", "-c", f"sleep 60; touch {slept}"]
    with pytest.raises(type(error), match=str(error)):
        together(lambda: when_the_other_runs(error), lambda: call(long, timeout=600))
    assert not slept.exists()
