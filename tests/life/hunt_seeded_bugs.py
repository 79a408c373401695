"""Is each bug still found by chance alone? Searched for in `make hunt` only: a check relives what was
found. What shows a bug of which no life is kept is shortened and kept.
"""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.life.eventful import BUGS, STEPS, named
from tests.life.kept import LIVES, Life, failed_in, failure_of, shortened, told_by

SEARCH = settings(
    max_examples=500,
    database=None,
    derandomize=False,
    phases=[Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize(("machine", "bug"), BUGS, ids=named)
def test_a_search_shows_a_bug(machine, bug, monkeypatch):
    bug(monkeypatch)
    steps = settings(SEARCH, stateful_step_count=STEPS.get(machine, 25))
    with pytest.raises(AssertionError) as shown:
        run_state_machine_as_test(machine, settings=steps)
    shown_by = failed_in(shown.value)
    assert shown_by, "something failed, and not in the oracle"
    name = f"bugs/{bug.__name__}"
    if (LIVES / f"{name}.json").exists():
        return
    _, found = told_by(shown.value)
    monkeypatch.undo()
    unseeded = failure_of(machine, found)
    if unseeded is not None:
        kept = Life(machine.__name__, found, unseeded).write()
        pytest.fail(f"{kept} shows a bug that nobody has seeded")

    def shows(these):
        bug(monkeypatch)
        shown = failure_of(machine, these) == shown_by
        monkeypatch.undo()
        return shown and failure_of(machine, these) is None

    Life(machine.__name__, shortened(found, shows), shown_by).write(name)
