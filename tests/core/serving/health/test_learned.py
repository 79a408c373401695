"""What is measured is kept, follows what is so now, and is written only when it is news.

Holds: core/serving/health/learned.py
"""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preamar.core.pods import ContainerView
from preamar.core.serving.facts import facts_of
from preamar.core.serving.health.learned import decimal, learned, seeded
from preamar.core.serving.reconcile import reconcile
from preamar.protocol.demand import Demand
from tests.core.builders import NOW, a_pod, a_service, later, seen


def started(service, name, seconds, at=0.0, **more):
    created = later(at)
    return a_pod(
        service, name=name, created=created, ready=True, ready_at=later(at + seconds), **more
    )


def after(found, **status):
    return a_service(status={"learned": found, **status})


def learned_of(observed):
    return learned(facts_of(observed))


def cold(found):
    return found["coldStartSeconds"], [start["pod"] for start in found["coldStarts"]]


def test_a_cold_start_is_learned_from_the_pods_that_are_ready():
    service = a_service()
    found = reconcile(seen(service, pods=(started(service, "p", 60),))).status["status"]["learned"]
    assert found == {
        "coldStartSeconds": "60.0",
        "coldStarts": [{"pod": "p", "at": "2026-01-01T12:00:00Z", "seconds": "60.0"}],
    }


def test_the_median_of_the_last_five_starts_counts():
    service = a_service()
    for number, seconds in enumerate((90, 90, 30, 31, 29, 30, 500)):
        pod = started(service, f"p{number}", seconds, at=100 * number)
        service = after(learned_of(seen(service, pods=(pod,))))
    assert cold(learned_of(seen(service))) == ("30.0", ["p2", "p3", "p4", "p5", "p6"])


def test_more_pods_than_are_kept_change_nothing_once_they_are_known():
    service = a_service()
    pods = tuple(started(service, f"p{n}", 10 + n, at=n // 3) for n in range(12))
    first = learned_of(seen(service, pods=pods))
    assert len(first["coldStarts"]) == 5
    assert learned_of(seen(after(first), pods=pods)) == first


def test_a_readiness_that_was_lost_for_a_moment_makes_no_start_longer():
    service = a_service()
    first = learned_of(seen(service, pods=(started(service, "p", 8),)))
    flickered = learned_of(seen(after(first), pods=(started(service, "p", 3000),)))
    assert flickered == first
    shorter = learned_of(seen(after(flickered), pods=(started(service, "p", 7),)))
    assert cold(shorter) == ("7.00", ["p"])


@pytest.mark.parametrize(
    "more",
    [
        {"ready": False},
        {"ready_at": None},
        {"created": None},
        {"containers": (ContainerView("triton", restarts=1),)},
        {"ready_at": later(-100), "created": NOW},
        {"deleting": True},
    ],
    ids=str,
)
def test_a_pod_that_was_not_started_once_and_well_teaches_nothing(more):
    service = a_service()
    pod = replace(started(service, "p", 8), **more)
    assert learned_of(seen(service, pods=(pod,))) == {}


def test_what_was_learned_before_the_starts_were_kept_stays_until_the_next_start():
    service = a_service(status={"learned": {"coldStartSeconds": "90.0"}})
    assert learned_of(seen(service)) == {"coldStartSeconds": "90.0"}
    assert cold(learned_of(seen(service, pods=(started(service, "p", 60),)))) == ("60.0", ["p"])


def takes(seconds):
    return Demand(0, service_seconds=seconds)


def test_how_long_a_request_takes_is_written_when_it_is_first_known():
    found = learned_of(seen(a_service(), demand=takes(0.84567)))
    assert found == {"serviceSeconds": "0.846", "measuredAt": "2026-01-01T12:00:00Z"}
    assert learned_of(seen(a_service(), demand=takes(None))) == {}


@pytest.mark.parametrize(
    ("seconds", "minutes", "written"),
    [
        (1.09, 10, False),
        (0.91, 10, False),
        (1.11, 10, True),
        (0.89, 10, True),
        (5.0, 0.99, False),
        (5.0, 1.0, True),
        (5.0, -10, True),
        (None, 10, False),
    ],
)
def test_it_is_written_again_when_it_moved_by_a_tenth_and_a_minute_has_passed(
    seconds, minutes, written
):
    before = {"serviceSeconds": "1.00", "measuredAt": "2026-01-01T12:00:00Z"}
    found = learned_of(seen(after(before), demand=takes(seconds), now=later(60 * minutes)))
    assert (found != before) == written
    if written:
        assert float(found["serviceSeconds"]) == seconds


def test_a_pass_that_learned_nothing_new_writes_nothing():
    service = a_service()
    pods = (started(service, "p", 60),)
    plan = reconcile(seen(service, pods=pods, demand=takes(2.0)))
    again = a_service(status=plan.status["status"])
    assert reconcile(seen(again, pods=pods, demand=takes(2.05))).status is None


def test_an_operator_that_was_restarted_knows_how_long_a_request_takes():
    service = after({"serviceSeconds": "0.85"})
    assert seeded(service, Demand(3)).service_seconds == 0.85
    assert seeded(service, takes(2.0)).service_seconds == 2.0
    assert seeded(a_service(), Demand(3)) == Demand(3)


@given(st.floats(0, 1e9))
def test_a_decimal_is_near_what_it_stands_for_and_short(seconds):
    text = decimal(seconds)
    assert abs(float(text) - seconds) <= max(0.006 * seconds, 6e-7)
    assert len(text) <= 12
    assert "e" not in text
