"""Shards of a sweep add up to it, and no result outlives what it was of.

Holds: e2e/faults/results.py
"""

import pytest

from e2e.faults import results
from e2e.faults.proxy import Point
from e2e.faults.results import Plan, Shard
from e2e.faults.sweep import Run

POINTS = tuple(
    (name, Point(f"PATCH {name}/x{number} #1", side))
    for name in ("jobs", "services")
    for number in range(3)
    for side in ("before", "after")
)


@pytest.fixture
def plan(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "KEPT", tmp_path)
    wanted = {"jobs": Run("jobs", "none", "passed", 1.0, state={"a": 1}, writes=["PATCH jobs #1"])}
    return Plan("0123", wanted, POINTS)


@pytest.mark.parametrize("of", [1, 2, 5, 20])
def test_shards_have_every_point_once(plan, of):
    shares = [plan.of(Shard(index, of)) for index in range(1, of + 1)]
    assert sorted(point for share in shares for point in share) == sorted(POINTS)


@pytest.mark.parametrize("text", ["0/1", "2/1", "1", "a/b", "1/0", ""])
def test_a_shard_that_is_none_is_refused_in_words(text):
    with pytest.raises(ValueError, match="i from 1 to n"):
        Shard.parse(text)


def test_a_plan_is_read_as_it_was_made(plan):
    assert results.load(plan.key) is None
    results.save(plan)
    assert results.load(plan.key) == plan


def test_what_shards_found_is_one_report_in_the_plans_order(plan):
    for index in (2, 1):
        for name, point in plan.of(Shard(index, 2))[:-1]:
            results.remember(plan, Run(name, str(point), "passed", 2.0))
    found = results.merged(plan)
    assert [point["point"] for point in found["points"]] == [str(point) for _, point in POINTS]
    assert found["verdicts"] == {"passed": 10, "failed": 0, "not reached": 0, "not run": 2}
    last = Run(*map(str, POINTS[-1]), "failed", 2.0, problems=["lost"])
    results.remember(plan, last)
    assert results.known(plan, *POINTS[-1])["problems"] == ["lost"]
    assert results.merged(plan)["verdicts"]["failed"] == 1


def test_a_change_of_the_sources_or_of_what_is_asked_is_another_plan(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "ROOT", tmp_path)
    (tmp_path / "uv.lock").write_text("one")
    first = results.key(["jobs"], 40)
    assert results.key(["jobs"], 40) == first
    assert results.key(["jobs"], 41) != first
    assert results.key(["services"], 40) != first
    (tmp_path / "uv.lock").write_text("two")
    assert results.key(["jobs"], 40) != first
