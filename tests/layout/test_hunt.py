"""`make hunt` tells what it found, notes what it has done, and goes on where it was stopped.

Holds: e2e/hunt.py
"""

import pytest

from e2e import hunt


@pytest.fixture
def hunts(monkeypatch, tmp_path):
    """A hunt with three tests, of which one finds something; ``stopped`` after how many."""
    ran = []

    def all_of(shard="1/1", round_="1", stopped=99):
        def hunted(test):
            if len(ran) == stopped:
                raise KeyboardInterrupt
            ran.append(test)
            return test != "b", "what it said"

        monkeypatch.setattr(hunt, "hunted", hunted)
        monkeypatch.setenv("SHARD", shard)
        monkeypatch.setenv("ROUND", round_)
        return hunt.main()

    monkeypatch.setattr(hunt, "STATE", tmp_path / "hunt")
    monkeypatch.setattr(hunt, "tests", lambda only: ["a", "b", "c"])
    monkeypatch.delenv("NAMES", raising=False)
    all_of.ran = ran
    return all_of


def test_what_is_found_is_shown_and_the_hunt_goes_on(hunts, capsys):
    assert hunts() == 1
    assert hunts.ran == ["a", "b", "c"]
    told = capsys.readouterr().out
    assert "2/3 FOUND" in told
    assert "what it said" in told
    assert told.endswith("1 found something\n  b\n")


def test_a_hunt_that_was_stopped_goes_on_where_it_was(hunts, capsys):
    with pytest.raises(KeyboardInterrupt):
        hunts(stopped=2)
    assert hunts() == 1
    assert hunts.ran == ["a", "b", "c"]
    assert "1 of 3 tests to hunt with" in capsys.readouterr().out


def test_another_shard_or_round_hunts_anew(hunts):
    hunts("1/2")
    hunts("2/2")
    hunts("2/2", "2")
    assert hunts.ran == ["a", "b", "c"] * 3


@pytest.mark.parametrize("shard", ["0/2", "3/2"])
def test_a_shard_that_is_none_is_told(hunts, shard):
    with pytest.raises(SystemExit, match="from 1 to"):
        hunts(shard)
