"""Does a hunt keep what it finds, and is all that was ever kept tried again?

Holds: tests/hunting.py
"""

import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import hunting


def test_draws_that_failed_once_pass_now():
    """A test that is renamed takes what is kept of it along: the name is in the file ``test``."""
    assert hunting.kept(), "nothing is kept, so nothing is replayed"
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *hunting.kept()],
        env=os.environ | {"PREAMAR_HYPOTHESIS": "replay"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    monkeypatch.setattr(hunting, "CORPUS", tmp_path)
    return lambda: sorted(tmp_path.rglob("*.draws"))


def goes_well(profile, limit, monkeypatch):
    monkeypatch.setattr(hunting, "HUNTS", profile == "hunt")
    seen = []

    @settings(database=hunting.Found(), derandomize=False, **hunting.PROFILES[profile])
    @given(st.integers())
    def none_is_too_large(number):
        seen.append(number)
        assert number < limit

    try:
        none_is_too_large()
    except AssertionError:
        return False, seen
    return True, seen


def test_what_a_hunt_finds_is_kept_as_small_as_it_gets_and_tried_for_ever(corpus, monkeypatch):
    assert not goes_well("hunt", 1000, monkeypatch)[0]
    (found,) = corpus()
    for limit, well in ((1000, False), (2000, True), (1000, False)):  # mended, and broken again
        assert goes_well("replay", limit, monkeypatch) == (well, [1000] * (1 if well else 2))
        assert corpus() == [found]


def test_a_hunt_that_no_longer_finds_it_keeps_it(corpus, monkeypatch):
    goes_well("hunt", 1000, monkeypatch)
    kept = corpus()
    assert goes_well("hunt", float("inf"), monkeypatch)[0]
    assert corpus() == kept
