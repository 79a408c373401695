"""Lives that once showed a bug, seeded or real, go well now: the control of the seeded ones.

Holds: core/serving/reconcile.py, core/training/reconcile.py
"""

import pytest

from tests.life import eventful, test_group, test_prepared
from tests.life.kept import LIVES, Life, relive
from tests.life.machine import Lives

MACHINES = {
    machine.__name__: machine
    for module in (eventful, test_group, test_prepared)
    for machine in vars(module).values()
    if isinstance(machine, type) and issubclass(machine, Lives)
}


@pytest.mark.parametrize(
    "path", sorted(LIVES.rglob("*.json")), ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_a_life_that_was_kept_goes_well(path):
    kept = Life.read(path)
    relive(MACHINES[kept.machine], kept.steps)
