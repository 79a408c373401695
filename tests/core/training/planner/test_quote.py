"""What a job is said to need before it runs, once it runs, and when that is too much.

Holds: core/training/planner/quote.py, core/training/admission/affordable.py
"""

from decimal import Decimal

import pytest

from preamar.core.capacity.hardware import read
from preamar.core.settings import Settings
from preamar.core.training.planner.quote import Speed, quote
from preamar.core.training.progress import ProgressReport
from preamar.core.training.reconcile import reconcile
from tests.core.builders import a_job, a_rank, condition, sentence, watched
from tests.core.training.test_reconcile import running

FLEET = read(
    {
        "devices": [
            {"name": "H100", "pricePerHour": "2.50"},
            {"name": "L4", "pricePerHour": "0.70"},
            {"name": "A100-80GB", "pricePerHour": "1.50", "currency": "EUR"},
        ]
    }
)


def on(*products, count=1, **spec):
    gpu = {"accelerator": {"type": "GPU", "count": count, "products": list(products)}}
    return a_job(**{"steps": 1000, **gpu, **spec})


def offer(job, workers=2, speed=None, fleet=FLEET):
    return quote(job.spec, workers, fleet, speed)


def test_money_is_price_times_accelerators_times_hours():
    found = offer(on("H100", count=4, workers={"ranksPerWorker": 4}))
    assert found.ranks == 8
    hours = Decimal(found.seconds) / 3600
    assert found.cost == pytest.approx(Decimal("2.50") * 8 * hours)
    assert found.joules == pytest.approx(8 * 700 * found.seconds)
    assert (found.basis, found.percent, found.currency) == ("Published", 40, "USD")


def test_of_several_products_the_slowest_is_meant():
    both, slow, fast = (offer(on(*products)) for products in (("H100", "L4"), ("L4",), ("H100",)))
    assert fast.seconds < slow.seconds == both.seconds
    assert both.device == "L4"


def test_one_product_that_is_not_known_makes_the_time_unknown():
    found = offer(on("H100", "Tesla-T4"))
    assert (found.seconds, found.cost, found.joules) == (None, None, None)
    assert found.memory is not None


def test_without_a_price_there_is_a_time_and_no_cost():
    found = offer(on("H200"))
    assert found.seconds > 0
    assert found.cost is None


def test_the_jobs_own_speed_replaces_what_was_published():
    found = offer(on("H100"), speed=Speed(64.0, 2))
    assert found.seconds == 1000 * 64 / 64.0
    assert (found.basis, found.percent) == ("Measured", 15)
    more = offer(on("H100"), workers=4, speed=Speed(64.0, 2))
    assert (more.seconds, more.percent) == (500.0, 30)


def test_checkpoints_take_time_where_the_volumes_speed_is_known():
    saves = {"checkpoint": {"uri": "pvc://data/c", "schedule": "Steps", "everySteps": 10}}
    fleet = read({"storageGBPerSecond": 1})
    slow, fast = offer(on("H100", **saves), fleet=fleet), offer(on("H100", **saves))
    weights = 1_000_576
    assert slow.saving == pytest.approx(100 * 14 * weights / 1e9)
    assert slow.seconds - fast.seconds == pytest.approx(slow.saving)
    assert fast.saving is None


def told(job, fleet=FLEET, **facts):
    return reconcile(watched(job, settings=Settings(fleet=fleet), **facts))


def test_status_tells_the_quote_before_the_first_pod_runs():
    said = told(on("H100")).status["status"]["quote"]
    assert said.keys() == {
        *("memoryBytesPerRank", "seconds", "errorPercent", "basis", "worldSize", "accelerator"),
        *("cost", "currency", "joules"),
    }
    assert said["accelerator"] == "H100"


def test_status_follows_the_speed_of_the_ranks_and_keeps_it_when_they_are_gone():
    job = on("H100")
    live = ProgressReport.of(
        {"attempt": 1, "state": "Training", "step": 5, "samplesPerSecond": "32"}
    )
    seen = {"jobs": (running(job),), "pods": (a_rank(0), a_rank(1))}
    said = told(job, progress=live, **seen).status["status"]["quote"]
    assert (said["basis"], said["seconds"], said["samplesPerSecond"]) == (
        "Measured",
        2000,
        "32.0000",
    )
    later = on("H100", status={"attempt": 1, "quote": said})
    assert told(later, **seen).status["status"]["quote"] == said


def test_a_cpu_has_a_time_once_it_was_measured():
    job = a_job(steps=100)
    assert "seconds" not in told(job).status["status"]["quote"]
    live = ProgressReport.of(
        {"attempt": 1, "state": "Training", "step": 5, "samplesPerSecond": "32"}
    )
    seen = {"jobs": (running(job),), "pods": (a_rank(0), a_rank(1))}
    said = told(job, progress=live, **seen).status["status"]["quote"]
    assert (said["seconds"], said["basis"]) == (200, "Measured")


LONG = {"steps": 10**7}
COSTS = offer(on("H100", **LONG)).cost


def budget(limit, currency="USD"):
    return {"budget": {"limit": f"{limit:.4f}", "currency": currency}}


def test_a_budget_above_the_lower_end_of_the_quote_is_let_through():
    assert told(on("H100", **LONG, **budget(COSTS * Decimal("0.61")))).apply


def test_a_budget_below_it_stalls_the_job_before_any_pod():
    plan = told(on("H100", **LONG, **budget(COSTS * Decimal("0.59"))))
    assert plan.apply == ()
    assert condition(plan, "Stalled") == ("True", "BudgetTooSmall")
    assert "costs at least" in sentence(plan, "Stalled")


@pytest.mark.parametrize(
    "job",
    [
        on("H200", **budget(9)),
        on("A100-80GB", **budget(9)),
        on("Tesla-T4", **budget(9)),
        a_job(**budget(9)),
        on("Tesla-T4", finishBy="2026-01-01T12:00:00Z"),
    ],
    ids=["no price", "another currency", "an unknown product", "a CPU", "no time to judge by"],
)
def test_a_bound_that_cannot_be_judged_is_refused_with_the_reason(job):
    plan = told(job)
    assert plan.apply == ()
    assert condition(plan, "Stalled") == ("True", "QuoteUnknown")


def test_a_time_that_cannot_be_kept_stalls_the_job():
    slow = on("L4", steps=10**9, finishBy="2026-01-01T13:00:00Z")
    plan = told(slow)
    assert condition(plan, "Stalled") == ("True", "FinishByTooEarly")
    assert "cannot end by 2026-01-01T13:00:00Z" in sentence(plan, "Stalled")
    assert told(on("L4", finishBy="2027-01-01T13:00:00Z")).apply


def test_what_is_done_is_not_counted_again():
    seconds = offer(on("L4", steps=10**6)).seconds * 0.6
    assert seconds > 600
    by = {"finishBy": "2026-01-01T12:05:00Z"}
    spec = {"steps": 10**6, **by}
    assert not told(on("L4", **spec)).apply
    share = 1 - 290 / seconds
    done = {"attempt": 1, "progress": {"step": int(share * 10**6), "steps": 10**6}}
    assert told(on("L4", status=done, **spec)).apply


LARGE = {"layers": 48, "hidden": 8192, "heads": 64, "kvHeads": 8, "intermediate": 28_672}


def advice(layers, stage, most):
    model = {"preset": "gpt-base", "parameters": LARGE | {"layers": layers}}
    workers = {"replicas": 1, "max": most}
    job = on("NVIDIA-L4", model=model, parallelism={"zeroStage": stage}, workers=workers)
    plan = told(job)
    assert condition(plan, "Stalled") == ("True", "MemoryTooSmall")
    assert "its accelerator has 22.4 GiB" in sentence(plan, "Stalled")
    return sentence(plan, "Stalled")


@pytest.mark.parametrize(
    ("layers", "stage", "most", "change"),
    [
        (2, 1, 4, "Set workers.replicas to 2."),
        (4, 0, 4, "set parallelism.zeroStage to 2, and workers.replicas to 4."),
        (4, 1, 1, "set accelerator.products to NVIDIA-A100-SXM4-80GB or"),
        (8, 1, 4, "set accelerator.products to NVIDIA-H200 or NVIDIA-B200 or"),
        (48, 3, 8, "set workers.max and workers.replicas to 32."),
    ],
)
def test_what_cannot_fit_the_accelerator_is_told_with_what_would(layers, stage, most, change):
    assert change in advice(layers, stage, most)
