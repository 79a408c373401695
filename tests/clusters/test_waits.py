"""Do journeys and the demo wait while something moves, and no longer?

Holds: e2e/kube.py
"""

import pytest

from e2e import kube
from e2e.kube import PATIENCE, NotInTimeError, standing, until


class Clock:
    """Time that passes only in sleeps."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(kube, "time", clock)
    return clock


def test_a_wait_without_progress_ends_after_its_seconds(clock):
    with pytest.raises(NotInTimeError, match=r"not within 1\d s: it comes"):
        until("it comes", 10, lambda: None, every=1.0)
    assert clock.now == pytest.approx(111, abs=1)


def test_a_wait_goes_on_while_something_moves(clock):
    """A job at step 397 of 400 is slow and not stuck."""
    begun = clock.now
    step = lambda: int(clock.now - begun) // 8  # noqa: E731 - a step every 8 s, of 10 s of patience
    assert until("it trains", 10, lambda: step() == 5, every=1.0, progress=step)
    assert clock.now - begun == 40


def test_a_wait_ends_when_nothing_moves_any_more(clock):
    begun = clock.now
    step = lambda: min(3, int(clock.now - begun) // 8)  # noqa: E731
    with pytest.raises(NotInTimeError, match="last seen: 3"):
        until("it trains", 10, lambda: None, every=1.0, progress=step)
    assert clock.now - begun == pytest.approx(24 + 11, abs=1)


def test_what_moves_for_ever_and_never_arrives_is_given_up(clock):
    begun = clock.now
    with pytest.raises(NotInTimeError):
        until("it settles", 10, lambda: None, every=1.0, progress=lambda: clock.now)
    assert clock.now - begun == pytest.approx(PATIENCE * 10, abs=2)


def test_steps_and_conditions_are_progress_and_times_are_not():
    condition = {"type": "Running", "status": "True", "reason": "Training"}
    job = {"status": {"conditions": [condition], "progress": {"step": 3, "etaSeconds": 9}}}
    later = {"status": {"conditions": [condition], "progress": {"step": 3, "etaSeconds": 5}}}
    further = {"status": {"conditions": [condition], "progress": {"step": 4}}}
    assert standing(job) == standing(later) != standing(further)
    assert standing(None) == standing({})
