"""How often faults are expected, and whether a stop has time for a checkpoint.

Holds: core/training/attempts/schedule.py, core/training/grace.py
"""

from json import loads

import pytest

from preamar.core.training.attempts.goodput import Ledger
from preamar.core.training.attempts.schedule import mean_time_between_faults
from preamar.core.training.grace import grace_seconds, need, verdict
from preamar.core.training.reconcile import reconcile
from tests.core.builders import a_job, condition, sentence, watched

HOUR = 3600
GPU = {"accelerator": {"type": "GPU"}}


def test_before_the_first_day_the_prior_speaks_and_grows_with_the_accelerators():
    few = mean_time_between_faults(a_job(**GPU), 8, Ledger())
    many = mean_time_between_faults(a_job(**GPU), 1000, Ledger())
    assert few == pytest.approx(50_000 * HOUR / 8, rel=0.05)
    assert many == pytest.approx(50 * HOUR, rel=0.05)


def test_spot_workers_are_expected_to_be_taken():
    spot = a_job(placement={"capacity": "Spot"}, **GPU)
    assert mean_time_between_faults(spot, 10, Ledger()) == pytest.approx(72 * HOUR, rel=0.1)


def test_what_was_seen_outweighs_the_prior_and_quiet_time_lengthens_it():
    job = a_job(**GPU)
    seen = Ledger(useful=30 * HOUR, faults=10)
    assert mean_time_between_faults(job, 8, seen) == pytest.approx(54 * HOUR / 10, rel=0.1)
    worse = Ledger(useful=30 * HOUR, faults=11)
    assert mean_time_between_faults(job, 8, worse) < mean_time_between_faults(job, 8, seen)
    quiet = Ledger(useful=3000 * HOUR)
    assert mean_time_between_faults(job, 8, quiet) > mean_time_between_faults(job, 8, Ledger())


def order_of(plan):
    env = plan.apply[-1]["spec"]["template"]["spec"]["containers"][0]["env"]
    return loads(next(v["value"] for v in env if v["name"] == "PREAMAR_TRAIN"))["checkpoint"]


def test_the_trainer_is_told_the_mean_for_schedule_auto_and_only_then():
    auto = order_of(reconcile(watched(a_job())))
    assert (auto["everySteps"], auto["everySeconds"]) == (None, None)
    assert auto["meanSecondsBetweenFaults"] == int(float(f"{25_000 * HOUR:.2g}"))
    fixed = {"schedule": "Seconds", "everySeconds": 90}
    told = order_of(reconcile(watched(a_job(checkpoint=fixed))))
    assert (told["everySeconds"], told["meanSecondsBetweenFaults"]) == (90, None)


def saved(seconds, speed="64", **spec):
    status = {
        "checkpoint": {"step": 5, "saveSeconds": seconds},
        "progress": {"samplesPerSecond": speed},
    }
    return a_job(status=status, **spec)


def test_what_a_stop_needs_is_the_slow_save_with_a_margin_and_a_step():
    assert need(saved("10.0")).seconds == 1.5 * 10 + 1 + 5
    assert need(a_job()) is None


CHAINS = [
    ("4.0", "OnDemand", 300, "True"),
    ("300.0", "OnDemand", 300, "False"),
    ("10.0", "Spot", 300, "True"),
    ("20.0", "Spot", 300, "False"),
    ("20.0", "SpotThenOnDemand", 300, "False"),
    ("20.0", "OnDemand", 300, "True"),
]


@pytest.mark.parametrize(("save", "capacity", "given", "status"), CHAINS)
def test_a_chain_that_cannot_hold_is_said(save, capacity, given, status):
    found = verdict(saved(save, placement={"capacity": capacity}), given, 30)
    assert (found.type, found.status) == ("GracePeriodSufficient", status)
    if status == "False":
        assert found.reason == "SaveTooSlow"
        assert "would be lost" in found.message


def test_the_next_attempt_gets_the_time_that_saves_were_measured_to_need():
    assert grace_seconds(a_job()) == 300
    assert grace_seconds(saved("300.0")) == 2 * (1.5 * 300 + 1 + 5)
    assert grace_seconds(saved("90000.0")) == 3600
    pod = reconcile(watched(saved("300.0"))).apply[-1]["spec"]["template"]["spec"]
    env = {v["name"]: v["value"] for v in pod["containers"][0]["env"]}
    assert env["PREAMAR_GRACE_SECONDS"] == "912"
    assert pod["terminationGracePeriodSeconds"] == 942


def test_the_condition_is_told_and_names_the_link():
    plan = reconcile(watched(saved("20.0", placement={"capacity": "Spot"})))
    assert condition(plan, "GracePeriodSufficient") == ("False", "SaveTooSlow")
    assert "spot capacity gives 30 s" in sentence(plan, "GracePeriodSufficient")
    assert condition(reconcile(watched(a_job())), "GracePeriodSufficient")[0] == "Unknown"
