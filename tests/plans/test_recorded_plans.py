"""Is every plan what it was? Each kept state is planned again, and compared with what was kept.

A test that is red here says that a change of the code changes a plan. Where it is meant to, record anew
(record.py says how); where code only moves, find out why.

Holds: core/serving/reconcile.py, core/training/reconcile.py
"""

import pytest

from tests.plans.kept import KINDS, answer, canonical, states_of

LEAST = 300


def difference(kept, today, where="plan"):
    """The first place where two JSON values differ, in words; empty where none does."""
    if isinstance(kept, dict) and isinstance(today, dict):
        for key in sorted(kept.keys() | today.keys()):
            if key not in kept or key not in today:
                said = today if key in today else kept
                what = "is new" if key in today else "is gone"
                return f"{where}.{key} {what}: {said[key]!r}"
            if found := difference(kept[key], today[key], f"{where}.{key}"):
                return found
    elif isinstance(kept, list) and isinstance(today, list):
        if len(kept) != len(today):
            return f"{where} has {len(today)} entries, and had {len(kept)}: {today!r}, {kept!r}"
        for place, (one, other) in enumerate(zip(kept, today, strict=True)):
            if found := difference(one, other, f"{where}[{place}]"):
                return found
    elif canonical(kept) != canonical(today):
        return f"{where} is {today!r}, and was {kept!r}"
    return ""


@pytest.mark.parametrize("kind", KINDS)
def test_every_plan_is_what_it_was(kind):
    states, others = states_of(kind), []
    for state in states:
        plan = answer(KINDS[kind], state.arguments())
        if canonical(plan) != canonical(state.plan):
            others.append(f"{state.name} ({state.seen_in}): {difference(state.plan, plan)}")
    first = others[0] if others else ""
    assert not others, f"{len(others)} of {len(states)} plans of {kind} differ; the first: {first}"


@pytest.mark.parametrize("kind", KINDS)
def test_enough_states_are_kept_and_none_twice(kind):
    assert len({state.name for state in states_of(kind)}) == len(states_of(kind)) >= LEAST


def test_a_difference_is_told_by_its_place():
    kept = {"apply": [{"spec": {"replicas": 1}}], "status": None}
    assert not difference(kept, {"status": None, "apply": [{"spec": {"replicas": 1}}]})
    one = difference(kept, {"apply": [{"spec": {"replicas": 1.0}}], "status": None})
    assert one == "plan.apply[0].spec.replicas is 1.0, and was 1"
    less = difference(kept, {"apply": [], "status": None})
    assert less == "plan.apply has 0 entries, and had 1: [], [{'spec': {'replicas': 1}}]"
    assert difference(kept, {"apply": kept["apply"]}) == "plan.status is gone: None"
