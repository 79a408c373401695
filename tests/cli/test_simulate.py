"""`preamar simulate`: its figures can be had by hand, its timelines too, and bad input is told.

Holds: cli/simulate/clairvoyant.py, cli/simulate/command.py, cli/simulate/engine.py,
cli/simulate/plots.py, cli/simulate/policies.py, cli/simulate/progress.py, cli/simulate/results.py,
cli/simulate/trace.py
"""

import csv
import json
import random
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from preamar.cli.simulate import ours, plots
from preamar.cli.simulate.engine import Rule, World, run
from preamar.cli.simulate.trace import Load
from preamar.core.serving.sizing import scaling
from preamar.main import main
from tests.cli.replay import Row, replay, rows

SLOTS, COLD_START, GOAL, LEAST, MOST = 2, 12.0, 6.0, 1, 5
FLAGS = {
    "--cold-start": "12", "--slots": "2", "--service-seconds": "1.5", "--goal-seconds": "6",
    "--min": "1", "--max": "5",
}  # fmt: skip
POLICIES = [
    "preamar",
    *(f"{name}{tuned}" for name in ("hpa-in-flight", "hpa-queue-ratio", "kpa", "keda-queue", "kubeai") for tuned in ("", "-tuned")),
    "fixed", "optimum-ahead-1", "optimum-ahead-2", "optimum",
]  # fmt: skip


def a_trace(path: Path) -> list[float]:
    """Two minutes: quiet, a rush, and almost silence, in no order."""
    chance = random.Random(7)
    times = [100 + chance.uniform(0, 40) for _ in range(20)]
    times += [140 + chance.uniform(0, 25) for _ in range(110)]
    times += [180 + chance.uniform(0, 40) for _ in range(12)]
    times += [150.0, 150.0, 150.0]  # at one moment
    chance.shuffle(times)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("timestamp", "input_tokens", "output_tokens"), *((t, 10, 20) for t in times)])  # fmt: skip
    return sorted(t - min(times) for t in times)


def simulate(*extra: str, out: Path, **changed: str | None) -> int:
    flags = {**FLAGS, **{f"--{name.replace('_', '-')}": value for name, value in changed.items()}}
    words = [word for name, value in flags.items() if value is not None for word in (name, value)]
    return main(["simulate", *words, "--out", str(out), *extra])


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    """All policies on the small trace."""
    folder = tmp_path_factory.mktemp("simulate")
    arrivals = a_trace(folder / "small.csv")
    assert simulate(out=folder / "out", trace=str(folder / "small.csv")) == 0
    return folder / "out", arrivals


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are drawn once, by ``done``: they cost more than the figures."""
    monkeypatch.setattr(plots, "plot", lambda *_: None)


def told(out: Path) -> dict[str, dict[str, float]]:
    return {row["policy"]: row for row in json.loads((out / "summary.json").read_text())}


def test_every_policy_has_a_row_with_exactly_the_figures_of_the_contract(done):
    listed = json.loads((done[0] / "summary.json").read_text())
    assert [row["policy"] for row in listed] == POLICIES
    assert {tuple(row) for row in listed} == {
        ("policy", "within_goal", "replica_seconds", "p50_seconds", "p99_seconds", "scale_events")
    }


@pytest.mark.parametrize("policy", POLICIES)
def test_a_timeline_replayed_by_hand_gives_the_same_figures(done, policy):
    out, arrivals = done
    timeline = rows(out / f"{policy}.csv")
    figures = replay(timeline, arrivals, [1.5] * len(arrivals), SLOTS, GOAL)
    row = told(out)[policy]
    assert figures == pytest.approx(tuple(row[name] for name in figures._fields))


def test_a_timeline_has_a_row_for_each_change_and_no_other(done):
    timeline = rows(done[0] / "preamar.csv")
    assert all(a.at < b.at for a, b in pairwise(timeline))
    assert all(a[1:] != b[1:] for a, b in pairwise(timeline[:-1]))
    assert all(row.ready + row.starting >= LEAST for row in timeline)


def test_who_knows_what_comes_pays_least_for_the_share(done):
    by_name = told(done[0])
    best = by_name["optimum"]
    assert best["within_goal"] >= 0.99
    rivals = [row for name, row in by_name.items() if name != "optimum" and row["within_goal"] >= 0.99]  # fmt: skip
    assert rivals
    assert all(best["replica_seconds"] <= row["replica_seconds"] for row in rivals)
    bound = json.loads((done[0] / "settings.json").read_text())["lower_bound_replica_seconds"]
    assert bound <= best["replica_seconds"]


def test_pictures_are_drawn(done):
    for name in ("replicas.png", "pareto.png"):
        assert (done[0] / name).read_bytes().startswith(b"\x89PNG")


def test_ours_is_the_operators_own_decision():
    assert ours.decide is scaling.decide


def one_at_a_time(count: int, seconds: float = 2.0) -> Load:
    return Load("tiny", [0.0] * count, [seconds] * count)


def test_three_requests_on_one_replica_wait_for_each_other():
    world = World(slots=1, cold_start=3.0, goal=4.0, min=1, max=1)
    outcome = run(one_at_a_time(3), world, Rule(lambda _view: 1, 1.0), record=True)
    assert outcome.latencies == [2.0, 4.0, 6.0]
    assert (outcome.within_goal, outcome.replica_seconds) == (2 / 3, 6.0)
    assert (outcome.percentile(0.5), outcome.percentile(0.99)) == (4.0, 6.0)
    assert [(c.at, c.ready, c.starting, c.queue) for c in outcome.timeline] == [
        (0.0, 1, 0, 2), (2.0, 1, 0, 1), (4.0, 1, 0, 0), (6.0, 1, 0, 0),
    ]  # fmt: skip


def test_a_replica_is_paid_for_while_it_starts_and_serves_from_then_on():
    world = World(slots=1, cold_start=3.0, goal=4.5, min=1, max=2)
    outcome = run(one_at_a_time(3), world, Rule(lambda _view: 2, 1.0), record=True)
    assert outcome.latencies == [2.0, 4.0, 5.0]
    assert outcome.replica_seconds == 10.0
    assert outcome.scale_events == 1


def test_a_replica_that_is_ordered_away_finishes_what_it_runs():
    world = World(slots=1, cold_start=0.5, goal=9.0, min=1, max=2)
    load = Load("tiny", [0.0, 1.0, 2.5], [2.0, 3.0, 1.0])
    sizes = [2, 2, 1]
    outcome = run(load, world, Rule(lambda view: sizes[min(int(view.now), 2)], 1.0), record=True)
    # The second runs 1 to 4 on the new one; the first is free at 2, as the order falls to one.
    assert outcome.latencies[:2] == [2.0, 3.0]
    assert outcome.latencies[2] in {1.0, 2.5}
    end = max(a + b for a, b in zip(load.arrivals, outcome.latencies, strict=True))
    figures = replay([row_of(c) for c in outcome.timeline], [0.0, 1.0, 2.5], [2.0, 3.0, 1.0], 1, 9.0)  # fmt: skip
    assert figures.replica_seconds == pytest.approx(outcome.replica_seconds)
    assert end == outcome.timeline[-1].at


def row_of(change):
    return Row(change.at, change.ready, change.starting, change.queue)


def test_a_service_that_sleeps_is_woken_at_once_and_by_the_first_request(tmp_path):
    (tmp_path / "one.csv").write_text("timestamp\n0\n100\n")
    assert simulate("--policy", "preamar", out=tmp_path / "o", trace=str(tmp_path / "one.csv"), min="0", goal_seconds="20") == 0  # fmt: skip
    row = told(tmp_path / "o")["preamar"]
    assert row["within_goal"] == 1.0
    assert row["p99_seconds"] == pytest.approx(COLD_START + 1.5)


def test_a_service_model_gives_each_request_its_own_time(tmp_path):
    (tmp_path / "model.yaml").write_text("seconds: 1\nperOutputToken: 0.5\n")
    (tmp_path / "t.csv").write_text("timestamp,input_tokens,output_tokens\n0,9,0\n50,9,4\n")
    flags = {"service_seconds": None, "service_model": str(tmp_path / "model.yaml")}
    assert simulate("--policy", "fixed", out=tmp_path / "o", trace=str(tmp_path / "t.csv"), **flags) == 0  # fmt: skip
    row = told(tmp_path / "o")["fixed"]
    assert (row["p50_seconds"], row["p99_seconds"]) == (1.0, 3.0)


def test_a_generated_load_is_written_so_that_it_can_be_replayed(tmp_path):
    assert simulate("--policy", "fixed", out=tmp_path / "o", generate="on-off", seed="3", slots="40", max="1") == 0  # fmt: skip
    again = tmp_path / "again"
    assert simulate("--policy", "fixed", out=again, trace=str(tmp_path / "o/trace.csv"), slots="40", max="1") == 0  # fmt: skip
    assert told(again) == told(tmp_path / "o")


BAD = {
    "missing file": ({"trace": "nowhere.csv"}, "cannot be read: No such file"),
    "bad header": ({"text": "time,tokens\n1,2\n"}, "the header must name timestamp"),
    "empty": ({"text": "timestamp\n"}, "has no requests"),
    "not a time": ({"text": "timestamp\n1\nNaN\n"}, "line 3: a time must be finite"),
    "words": ({"text": "timestamp\nsoon\n"}, "line 2: could not convert"),
    "negative tokens": ({"text": "timestamp,input_tokens\n1,-5\n"}, "tokens not below 0"),
    "min above max": ({"min": "6"}, "--min 6 is above --max 5"),
    "max 0": ({"max": "0"}, "0 must be from 1 to 1000"),
    "goal below service": ({"goal_seconds": "1"}, "below the 1.5 s that even the fastest"),
    "slots 0": ({"slots": "0"}, "0 must be from 1"),
    "slots in words": ({"slots": "two"}, "'two' is not a whole number"),
    "negative cold start": ({"cold_start": "-1"}, "-1 must not be below zero"),
    "no service time": ({"service_seconds": "0"}, "0 must be above zero"),
    "NaN": ({"goal_seconds": "nan"}, "'nan' is not a number"),
    "no such policy": ({"policy": "best"}, "there is no policy best: choose all or one of preamar"),
    "share": ({"share": "99"}, "99 must be above 0 and at most 1"),
    "no model": ({"service_seconds": None, "service_model": "m.yaml"}, "m.yaml cannot be read"),
    "neither": ({"service_seconds": None}, "--service-seconds --service-model is required"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence_and_exit_code_2(name, tmp_path, capsys):
    changed, words = dict(BAD[name][0]), BAD[name][1]
    trace = tmp_path / "t.csv"
    trace.write_text(changed.pop("text", "timestamp\n3\n1\n2\n"))
    try:
        code = simulate(out=tmp_path / "out", **{"trace": str(trace), **changed})
    except SystemExit as ended:  # argparse leaves by itself
        code = ended.code
    assert code == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_an_out_folder_that_cannot_be_made_is_said(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert simulate("--policy", "fixed", out=tmp_path / "file/out", generate="bursty-13") == 1
    assert "cannot be written" in capsys.readouterr().err


def test_without_the_extra_it_says_what_to_install(tmp_path, capsys, monkeypatch):
    (tmp_path / "t.csv").write_text("timestamp\n0\n")
    for name in [n for n in sys.modules if n.startswith("preamar.cli.simulate")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "numpy", None)
    assert simulate(out=tmp_path / "o", trace=str(tmp_path / "t.csv")) == 1
    assert "pip install numpy matplotlib" in capsys.readouterr().err
