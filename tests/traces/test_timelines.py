"""Recorded loads and the sizes that they lead to: whole timelines compared.

Holds: core/serving/sizing/demand_size.py, core/serving/sizing/scaling.py
"""

import random

import pytest

from tests.traces.playing import GOAL, POLICY, World


def test_a_load_comes_and_goes():
    load = lambda second: 20 if 10 <= second < 100 else 0  # noqa: E731
    assert World().play(load, 300).changes == [
        (0, 0, "DemandMet"),
        (10, 3, "DemandMet"),
        (130, 1, "IdleBeforeZero"),
        (160, 0, "DemandMet"),
    ]


def test_a_wake_for_nobody_is_cancelled_at_once():
    load = lambda second: 20 if 10 <= second < 15 else 0  # noqa: E731
    assert World().play(load, 60).changes == [
        (0, 0, "DemandMet"),
        (10, 3, "DemandMet"),
        (15, 0, "NobodyWaits"),
    ]


def test_pods_that_are_pending_for_an_hour_neither_cascade_nor_freeze_the_size():
    load = lambda second: 20 if second < 3600 else 0  # noqa: E731
    played = World(start=None).play(load, 3700)
    assert played.changes == [(0, 3, "DemandMet"), (3600, 0, "NobodyWaits")]


def test_pods_that_are_pending_do_not_cascade_under_a_goal_in_seconds_either():
    world = World(start=None, service=2.0)
    world.play(lambda second: 4 if second < 900 else 0, 1000, GOAL)
    assert max(world.sizes) <= GOAL.max
    assert len(world.changes) <= 6
    assert world.sizes[-1] == 0


def test_replicas_that_crash_are_not_multiplied():
    world = World(failing=lambda second: second >= 20)
    world.play(lambda second: 10 + second // 10, 600)
    assert world.sizes[20] == world.sizes[-1] == 2
    assert world.seen[-1][2] == "ReplicasFailing"


def test_a_load_that_flaps_keeps_its_replicas():
    world = World().play(lambda second: 30 if (second // 5) % 2 else 2, 1200)
    assert world.changes == [(0, 1, "DemandMet"), (5, 4, "DemandMet")]


def test_silence_at_the_peak_holds_the_size():
    """A gateway restarts: unknown for five seconds, then less than before, as callers reconnect."""
    load = lambda second: None if 100 <= second < 105 else 12 if 105 <= second < 110 else 40  # noqa: E731
    world = World().play(load, 300)
    assert set(world.sizes) == {5}


@pytest.mark.parametrize("jump", [-600.0, 600.0])
def test_a_clock_that_jumps_never_leaves_demand_without_replicas(jump):
    """A jump forward may end a cooling early; the size is then what demand asks for."""
    world = World(clock=lambda second: second + (jump if second >= 150 else 0.0))
    world.play(lambda second: 30 if second < 140 else 10, 400)
    assert world.sizes[139] == 4
    assert all(size >= 2 for size in world.sizes)
    assert world.sizes[-1] == 2


def test_a_burst_that_was_seen_often_is_met_standing():
    """Nothing is lost by following a steady goal for half an hour: no size changes but the first."""
    rng = random.Random(7)
    load = [sum(rng.random() < 0.5 for _ in range(10)) for _ in range(1800)]
    world = World(service=2.0).play(lambda second: load[second], 1800, GOAL)
    assert set(world.sizes[120:]) <= {3, 4}


def test_min_and_max_hold_in_every_second():
    rng = random.Random(11)
    policy = POLICY.__class__(2, 5, POLICY.aim, POLICY.idle)
    load = lambda second: rng.choice([None, 0, 200] if second < 450 else [0, 3])  # noqa: E731
    assert {2, 5} <= set(World().play(load, 900, policy).sizes) <= {2, 3, 4, 5}
