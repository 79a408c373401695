"""The simulator's parts: loads are what their names say, and the optimum's program is optimal.

Holds: cli/simulate/ahead.py, cli/simulate/engine.py, cli/simulate/generate.py,
cli/simulate/optimum.py, cli/simulate/ours.py, cli/simulate/rules.py, cli/simulate/tuning.py
"""

from itertools import pairwise, product
from statistics import fmean, pstdev

import numpy as np
import pytest

from preamar.cli.simulate.ahead import looking_ahead
from preamar.cli.simulate.engine import View, World, run
from preamar.cli.simulate.generate import LOADS, generate
from preamar.cli.simulate.optimum import Costs, Steps, sizes
from preamar.cli.simulate.ours import Preamar
from preamar.cli.simulate.rules import families, fixed
from preamar.cli.simulate.trace import Load
from preamar.cli.simulate.tuning import tune, tune_fixed
from preamar.demand.book import DemandBook
from preamar.protocol.demand import Load as Told
from preamar.protocol.demand import Report


def cv(times: list[float]) -> float:
    gaps = [b - a for a, b in pairwise(times)]
    return pstdev(gaps) / fmean(gaps)


def test_the_same_seed_gives_the_same_load_and_another_seed_another():
    assert generate("bursty-13", 4) == generate("bursty-13", 4)
    assert generate("bursty-13", 4) != generate("bursty-13", 5)


@pytest.mark.parametrize(("name", "least", "most"), [("steady", 0.95, 1.05), ("bursty-1", 1.0, 1.3), ("bursty-13", 10.0, 17.0)])  # fmt: skip
def test_gaps_vary_as_the_name_says(name, least, most):
    assert least < cv([request.at for request in generate(name)]) < most


def test_a_flash_crowd_is_five_times_the_load_for_six_minutes():
    times = [request.at for request in generate("flash")]
    crowd = sum(1810 < at < 2150 for at in times) / 340
    assert 4.5 < crowd / (sum(at < 1700 for at in times) / 1700) < 5.5


def test_on_off_falls_silent_for_minutes_of_different_length():
    times = [request.at for request in generate("on-off")]
    silences = [b - a for a, b in pairwise(times) if b - a > 60]
    assert len(silences) >= 3
    assert max(silences) - min(silences) > 20


def test_a_day_falls_and_rises():
    minutes = np.bincount([int(request.at // 600) for request in generate("diurnal")])
    assert minutes.max() > 5 * minutes.min()


def test_tokens_are_log_normal_with_the_medians_said():
    requests = generate("steady")
    assert 950 < np.median([request.input_tokens for request in requests]) < 1090
    assert 120 < np.median([request.output_tokens for request in requests]) < 138
    assert set(LOADS) == {"steady", "diurnal", "bursty-1", "bursty-13", "flash", "on-off"}


def paid(plan, came, before, waiting, size, cost):
    """What a plan costs, step by step, with each request by itself."""
    line = [-1 - i for i in range(before)][:waiting][::-1]
    total = 0.0
    for t, replicas in enumerate(plan):
        total += max(0, replicas - size) * cost.start + replicas
        size = replicas
        line += [t] * int(came[t])
        for _ in range(min(int(replicas * cost.rate), len(line))):
            total += cost.price * (t - line.pop(0) > cost.lag)
    return total + cost.price * sum(len(plan) - since > cost.lag for since in line)


@pytest.mark.parametrize("price", [0.5, 3.0, 20.0])
@pytest.mark.parametrize("came", [(4, 0, 9, 0, 0, 2), (0, 0, 0, 12, 0, 0), (3, 3, 3, 3, 3, 3)])
def test_the_program_is_as_cheap_as_the_best_of_all_plans(came, price):
    cost = Costs(rate=2, lag=1, start=1.5, price=price, least=0, most=3)
    limit = np.array([1, 3, 3, 3, 3, 3])
    steps = Steps(1.0, np.array(came, dtype=float), np.zeros(0), 0.0, 1, limit, limit)
    best = min(
        paid(plan, came, 0, 0, 1, cost)
        for plan in product(range(4), repeat=6)
        if all(size <= most for size, most in zip(plan, limit, strict=True))
    )
    assert paid(sizes(steps, cost).tolist(), came, 0, 0, 1, cost) == pytest.approx(best)


def rush() -> Load:
    """Two a second, and eight a second from 60 to 80 s."""
    arrivals = sorted([i * 0.5 for i in range(200)] + [60 + i / 6 for i in range(120)])
    return Load("rush", arrivals, [1.0] * len(arrivals))


def test_who_sees_a_cold_start_ahead_has_replicas_when_the_rush_comes():
    world = World(slots=2, cold_start=15.0, goal=4.0, min=1, max=6)
    outcome = run(rush(), world, looking_ahead(rush(), world, 15.0, 12.0, 3.0))
    assert outcome.within_goal >= 0.99
    assert outcome.replica_seconds < 0.7 * tune_fixed(rush(), world, 0.99).outcome.replica_seconds


def test_the_best_fixed_size_is_the_least_that_keeps_the_share():
    world = World(slots=2, cold_start=15.0, goal=4.0, min=1, max=6)
    best = tune_fixed(rush(), world, 0.99)
    size = int(best.knobs["size"])
    fewer = World(2, 15.0, 4.0, size - 1, size - 1)
    assert best.kept
    assert run(rush(), fewer, fixed(fewer, {"size": size - 1})).within_goal < 0.99


def test_a_tuned_rule_keeps_the_share_or_says_that_it_does_not():
    world = World(slots=2, cold_start=15.0, goal=4.0, min=1, max=3)  # too few for the rush
    family = next(f for f in families(world) if f.name == "kubeai")
    kept, not_kept = tune(family, rush(), world, 0.5), tune(family, rush(), world, 1.0)
    assert kept.kept
    assert kept.outcome.within_goal >= 0.5
    assert not not_kept.kept
    assert not_kept.outcome.within_goal >= kept.outcome.within_goal


def test_service_times_are_learned_as_the_operator_learns_them():
    """From the same requests, each second a few: the first five are slow, as in a replica that is
    warming up."""
    seconds = [5.0] * 5 + [0.5] * 95
    view, rule = View(), Preamar(World(slots=4, cold_start=30.0, goal=10.0, min=1, max=9), 5.0)
    book, learned = DemandBook(), []
    book.take(Report("g", 1, {"demo/m": Told(0, 0)}), 0.0)
    for at in range(1, 51):
        done = seconds[: 2 * at]
        view.ended.append(2)
        view.busy_seconds.append(sum(done[-2:]))
        totals = Told(0, 0, len(done), len(done), sum(done))
        book.take(Report("g", at + 1, {"demo/m": totals}), float(at))
        learned.append((rule._learn(view), book.demand("demo/m", float(at)).service_seconds))
    assert [ours for ours, _ in learned] == pytest.approx([theirs for _, theirs in learned])
    assert learned[1] == (None, None)
    assert learned[-1][0] < 1.0
