"""When the next checkpoint is due by the clock.

Holds: preamar_train/pace/schedule.py
"""

from math import sqrt

import pytest
from preamar_train.pace.schedule import FIRST_SECONDS, interval
from preamar_train.request import CheckpointSpec


def auto(mean):
    return CheckpointSpec("p", "u", None, None, mean, 3)


def test_auto_is_youngs_optimum_of_the_measured_save():
    assert interval(auto(10_800.0), 1.0) == pytest.approx(sqrt(2 * 10_800))


def test_young_s_optimum_wastes_least():
    def waste(seconds, save=2.0, mean=10_800.0):
        return save / seconds + seconds / 2 / mean

    best = interval(auto(10_800.0), 2.0)
    assert waste(best) <= min(waste(best * 0.9), waste(best * 1.1))


def test_before_a_save_was_timed_the_first_comes_soon():
    assert interval(auto(1e9), None) == FIRST_SECONDS


def test_saving_never_takes_more_than_a_twentieth_and_is_else_done_each_hour():
    assert interval(auto(60.0), 10.0) == 200
    assert interval(auto(1e9), 10.0) == 3600
    assert interval(auto(1e9), 1000.0) == 20_000


def test_seconds_and_steps_stay_what_the_user_wrote():
    assert interval(CheckpointSpec("p", "u", None, 90.0, None, 3), 50.0) == 90
    assert interval(CheckpointSpec("p", "u", 10, None, None, 3), 50.0) is None
