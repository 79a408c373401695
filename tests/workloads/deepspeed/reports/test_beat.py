"""What a rank leaves behind of itself: its last beat, and where its time went.

Holds: preamar_train/agent/hang.py, preamar_train/pace/clock.py, preamar_train/pace/progress.py,
preamar_train/reports/beat.py, preamar_train/reports/rank_state.py
"""

import time
from types import SimpleNamespace

import pytest
from preamar_train.agent import hang
from preamar_train.pace import clock
from preamar_train.pace.progress import RankProgress
from preamar_train.reports import beat


def test_a_beat_says_the_step_that_is_trained_and_its_usual_length(tmp_path):
    heart = beat.Beat(tmp_path / "rank-0.beat")
    heart.phase("Training")
    for step in (1, 2, 3):
        time.sleep(0.02)
        heart.stepped(step)
    seen = beat.read(tmp_path / "rank-0.beat")
    assert (seen.step, seen.phase, seen.doing) == (3, "Training", 4)
    assert 0.015 < seen.median < 0.2
    heart.phase("Saving", 3)
    assert beat.read(tmp_path / "rank-0.beat").doing == 3
    heart.phase("Exporting")
    assert beat.read(tmp_path / "rank-0.beat").doing is None


def test_a_pause_for_a_save_is_no_long_step(tmp_path):
    heart = beat.Beat(tmp_path / "b")
    heart.phase("Training")
    for step in range(1, 8):
        time.sleep(0.005)
        heart.stepped(step)
        heart.phase("Saving", step)
        time.sleep(0.03)
        heart.phase("Training")
    seen = beat.read(tmp_path / "b")
    assert seen.median < 0.025
    assert seen.longest_save >= 0.03


def test_no_beat_and_a_damaged_one_are_none(tmp_path):
    assert beat.read(tmp_path / "none") is None
    (tmp_path / "short").write_bytes(b"x")
    assert beat.read(tmp_path / "short") is None


ALLOWED = [
    ("Training", 0.01, 0, 20),
    ("Training", 5.0, 0, 50),
    ("Training", 0.0, 0, hang.FIRST_SECONDS),
    ("Saving", 0.01, 200, 2000),
    ("Saving", 0.01, 1, hang.ALLOWED["Saving"]),
    ("Exporting", 0.01, 0, hang.ALLOWED["Exporting"]),
]


@pytest.mark.parametrize(("phase", "median", "save", "seconds"), ALLOWED)
def test_how_long_a_rank_may_stand_still(phase, median, save, seconds):
    assert hang.allowed(beat.BeatReading(0, median, save, 3, phase), 20.0) == seconds


def test_tiny_steps_that_stop_are_told_within_thirty_seconds():
    longest = hang.allowed(beat.BeatReading(0, 0.01, 0, 3, "Training"), hang.FLOOR_SECONDS)
    assert longest + hang.OTHERS_SECONDS + 2 <= 30


def test_every_second_has_a_use_and_steps_above_the_checkpoint_are_not_saved(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(clock, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(clock, "age", lambda: 3.0)
    progress = RankProgress(tmp_path / "rank-0.json", 1, 10)
    progress.say(state="Training")
    now[0] += 5
    progress.stepped(1, {"consumed": 4}, 1.0)
    progress.say(state="Saving")
    now[0] += 7
    progress.say(state="Training", checkpoint={"step": 1})
    now[0] += 11
    progress.say(state="Evaluating")
    now[0] += 2
    progress.say(state="Done")
    words = beat_words(tmp_path)
    assert words["seconds"] == {
        "startup": 3.0, "steps": 16.0, "checkpoint": 7.0, "other": 2.0, "saved": 5.0,
    }  # fmt: skip
    assert words["saveSeconds"] == 7.0


def test_a_checkpoint_that_was_resumed_from_saves_no_steps_of_this_attempt(tmp_path):
    progress = RankProgress(tmp_path / "rank-0.json", 1, 10)
    progress.say(resumedFrom=4, step=4, checkpoint={"step": 4})
    progress.say(state="Training")
    time.sleep(0.02)
    progress.say()
    assert beat_words(tmp_path)["seconds"]["saved"] == 0


def beat_words(folder):
    import json

    return json.loads((folder / "rank-0.json").read_text())
