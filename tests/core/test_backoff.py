"""Pauses double up to their limit, for whoever knows how many there were.

Holds: core/backoff.py
"""

import pytest

from preamar.core.backoff import INCOMPLETE_GANG, Backoff, pause


@pytest.mark.parametrize(
    ("before", "seconds"), [(-1, 60), (0, 60), (1, 120), (4, 960), (5, 1800), (10**9, 1800)]
)
def test_a_gang_waits_longer_each_time(before, seconds):
    assert pause(INCOMPLETE_GANG, before) == seconds


def test_a_short_pause_stops_doubling_too():
    assert pause(Backoff(1.0, 1e9), 40) == 2.0**10
