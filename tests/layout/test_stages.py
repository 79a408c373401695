"""`make check` runs every file of tests once, and tells of every stage what became of it.

Holds: e2e/check.py, e2e/stages.py
"""

import sys
from fnmatch import fnmatch
from pathlib import Path

from e2e.check import STAGES
from e2e.stages import Stage, beside, report

FILES = set(Path("tests").glob("**/test_*.py"))


def test_every_file_of_tests_is_in_exactly_one_stage():
    ran = []
    for stage in STAGES:
        places = [Path(word) for word in stage.command if word.startswith("tests")]
        ignored = [Path(word[9:]) for word in stage.command if word.startswith("--ignore=")]
        ran += [
            file
            for file in FILES
            for place in places
            if file.is_relative_to(place) and not any(map(file.is_relative_to, ignored))
        ]
    assert sorted(ran) == sorted(FILES)


def test_pytest_looks_into_every_folder_of_tests(pytestconfig):
    """Left to itself it passes by what is called ``build``."""
    past = pytestconfig.getini("norecursedirs")
    folders = {part for file in FILES for part in file.parent.parts}
    assert not {each for each in folders for pattern in past if fnmatch(each, pattern)}


def test_stages_run_beside_each_other_and_none_hides_another(capfd, tmp_path):
    slept = tmp_path / "slept"
    stages = (
        Stage("hangs", ("sh", "-c", f"sleep 60; touch {slept}"), deadline=0.1),
        Stage("fails", (sys.executable, "-c", "print('why'); raise SystemExit(3)")),
        Stage("is not there", ("/no/such/command",)),
        Stage("passes", ("true",)),
    )
    found = {outcome.name: outcome.state for outcome in beside(stages, at_once=4)}
    assert found == {
        "hangs": "failed", "fails": "failed", "is not there": "failed", "passes": "passed",
    }  # fmt: skip
    assert not slept.exists()
    assert "why" in capfd.readouterr().out


def test_one_stage_that_did_not_pass_fails_the_whole(capsys):
    good = beside((Stage("passes", ("true",)),), 1)
    assert report(good, 1.0) == 0
    assert report(good + beside((Stage("fails", ("false",)),), 1), 90.0) == 1
    assert "2 stages in 90 s" in capsys.readouterr().out
