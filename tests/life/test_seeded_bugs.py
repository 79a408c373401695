"""Would the life test notice? Each bug must turn the life red that showed it first, in the part of the
oracle that it failed in then. Without the bug that life goes well: test_kept.py.

Holds: tests/life/
"""

import pytest

from tests.life.eventful import BUGS, named
from tests.life.kept import LIVES, Life, failed_in, relive


@pytest.mark.parametrize(("machine", "bug"), BUGS, ids=named)
def test_the_life_that_showed_a_bug_shows_it_again(machine, bug, monkeypatch):
    kept = Life.read(LIVES / "bugs" / f"{bug.__name__}.json")
    assert kept.machine == machine.__name__
    bug(monkeypatch)
    with pytest.raises(AssertionError) as shown:
        relive(machine, kept.steps)
    assert failed_in(shown.value) == kept.shown_by
