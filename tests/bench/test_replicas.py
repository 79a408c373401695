"""Replica-seconds from what watches told, worked out by hand.

Holds: e2e/bench/replicas.py
"""

import pytest

from e2e.bench.replicas import Pod, area, at_moment, ends, held, lingering, starts

SIZES = [(0.0, 0), (10.0, 2), (50.0, 1)]
PODS = [
    Pod(created=10.2, ready=16.0),
    Pod(created=10.3, ready=17.0, leaving=50.1, gone=58.0),
]


def test_a_replica_is_held_from_its_order_until_its_pod_is_gone() -> None:
    steps = held(SIZES, PODS)
    assert at_moment(steps, 9.9) == 0
    assert at_moment(steps, 10.1) == 2  # ordered, no pod yet
    assert at_moment(steps, 57.9) == 2
    assert at_moment(steps, 58.0) == 1
    assert area(steps, 0.0, 100.0) == pytest.approx(2 * 48.0 + 42.0)


def test_a_pod_that_nobody_asks_for_any_more_is_held_before_its_deletion_begins() -> None:
    late = [PODS[0], Pod(created=10.3, ready=17.0, leaving=53.0, gone=58.0)]
    assert area(held(SIZES, late), 0.0, 100.0) == area(held(SIZES, PODS), 0.0, 100.0)


def test_a_pod_that_is_replaced_counts_beside_the_one_that_replaces_it() -> None:
    pods = [Pod(created=0.0, leaving=20.0, gone=30.0), Pod(created=20.0)]
    assert area(held([(0.0, 1)], pods), 0.0, 40.0) == pytest.approx(50.0)


def test_a_simulated_replica_lingers_as_long_as_a_real_one_took_to_go() -> None:
    assert area(lingering(SIZES, 8.0), 0.0, 100.0) == pytest.approx(2 * 48.0 + 42.0)
    assert area(lingering(SIZES, 0.0), 0.0, 100.0) == pytest.approx(area(SIZES, 0.0, 100.0))


def test_an_area_ends_with_the_run() -> None:
    assert area(SIZES, 0.0, 30.0) == pytest.approx(40.0)
    assert area(SIZES, 20.0, 60.0) == pytest.approx(2 * 30.0 + 10.0)


def test_a_start_counts_from_the_order_and_an_end_from_the_smaller_size() -> None:
    assert starts(SIZES, PODS, since=0.0) == pytest.approx([6.0, 7.0])
    assert ends(SIZES, PODS, since=0.0) == pytest.approx([8.0])
    assert starts(SIZES, PODS, since=20.0) == []
