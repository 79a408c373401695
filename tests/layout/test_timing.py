"""Is the time of tests added up by room, and a room that takes too long told?

Holds: e2e/timing.py
"""

import subprocess
import sys

import pytest

from e2e.timing import Timed, budgets, over, read, report, room_of

ALLOWED = {"cpu": {"tests/core": 10.0, "imports and collection": 5.0}, "wall": {"e2e/journeys": 600.0}}  # fmt: skip


@pytest.mark.parametrize(
    ("nodeid", "room"),
    [
        ("tests/core/serving/health/test_fit.py::test_x[a/b]", "tests/core"),
        ("tests/gateway/routing/test_zero.py::test_y", "tests/gateway"),
        ("tests/workloads/triton/remote/test_gate.py::test_z", "tests/workloads/triton"),
        ("tests/workloads/deepspeed/image/test_data.py::test_a", "tests/workloads/deepspeed/image"),
        ("e2e/journeys/test_zero.py::test_b", "e2e/journeys"),
    ],
)
def test_a_room_is_a_folder_of_tests(nodeid, room):
    assert room_of(nodeid) == room


def spent(room, seconds, cpu):
    return Timed(f"{room}/test_a.py::test_b", room, seconds, cpu)


def test_a_room_may_exceed_its_budget_by_half():
    assert not over([spent("tests/core", 99.0, 15.0)], ALLOWED, 1.0)
    assert over([spent("tests/core", 1.0, 8.0), spent("tests/core", 1.0, 8.0)], ALLOWED, 1.0) == [
        "tests/core took 16 CPU s, its budget is 10"
    ]


def test_what_waits_for_a_cluster_is_measured_in_seconds():
    assert not over([spent("e2e/journeys", 900.0, 9999.0)], ALLOWED, 1.0)
    assert over([spent("e2e/journeys", 901.0, 1.0)], ALLOWED, 1.0)


def test_a_slower_machine_gets_more():
    assert not over([spent("tests/core", 1.0, 29.0)], ALLOWED, 2.0)


def test_a_room_without_a_budget_is_told():
    assert over([spent("tests/new", 0.1, 0.1)], ALLOWED, 1.0) == [
        "tests/new has no budget in pyproject.toml"
    ]


def test_a_run_of_pytest_is_written_down_with_what_its_processes_used(tmp_path, capsys):
    folder = tmp_path / "tests/core"
    folder.mkdir(parents=True)
    (folder / "test_two.py").write_text(
        "import subprocess, sys\n"
        "def test_quick(): pass\n"
        "def test_busy():\n"
        "    subprocess.run([sys.executable, '-c', 'sum(range(5_000_000))'], check=True)\n"
    )
    pytest = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    command = (*pytest, "--disable-plugin-autoload", "-p", "e2e.timing")
    done = subprocess.run(
        [*command, "--rootdir", tmp_path, "--times", tmp_path / "times/a.json", folder],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    timed = {each.name.rpartition("::")[2]: each for each in read(tmp_path / "times")}
    assert set(timed) == {"test_quick", "test_busy", "imports and collection"}
    assert timed["test_busy"].room == "tests/core"
    assert timed["test_busy"].cpu > timed["test_quick"].cpu
    assert report(list(timed.values()), ALLOWED, 1.0) == 0
    assert "test_busy" in capsys.readouterr().out


def test_every_room_of_tests_has_a_budget():
    allowed = budgets()
    assert allowed["cpu"].keys().isdisjoint(allowed["wall"])
    assert "tests/core" in allowed["cpu"]
