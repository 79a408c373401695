"""The size of a job: what its user wants, where there are places, within his bounds.

Holds: core/training/annotations.py, core/training/facts.py, core/training/elastic/size.py
"""

from itertools import product

import pytest

from preamar.core.training.annotations import Fewer, ResizeRequest
from preamar.core.training.elastic.size import LIMITS, size_of, within_bounds
from preamar.core.training.facts import facts_of
from preamar.protocol.labels import FEWER, STOP
from tests.core.builders import NOW, a_job, an_attempt, watched

SIX = {"micro": 1, "global": 12}


def of(asked, least, most, workers=2, *, fewer=False, order=None, fits=None, generation=3):
    """The size of a job of 12 samples a step, whose last attempt is the first."""
    annotations = {FEWER: Fewer(asked, "no node").text()} if fewer else {}
    if order:
        annotations[STOP] = ResizeRequest(workers, order, "PlacesFound", NOW, 3).text()
    gang = {"incomplete": 1, "attempt": 1, "generation": generation, "fits": fits}
    job = a_job(
        workers={"replicas": asked, "min": least, "max": most},
        batch=SIX,
        status={"attempt": 1} | ({} if fits is None else {"gang": gang}),
    )
    return size_of(
        facts_of(watched(job, jobs=(an_attempt(workers=workers, annotations=annotations),)))
    )


@pytest.mark.parametrize(
    ("size", "workers", "told"),
    [
        pytest.param(of(4, 1, 6), 4, False, id="as many as are asked for"),
        pytest.param(of(4, 1, 6, fits=3), 3, True, id="as many as had places"),
        pytest.param(of(4, 1, 6, fits=6), 4, False, id="never more than are asked for"),
        pytest.param(of(4, 1, 6, fits=3, generation=2), 4, False, id="an edit forgets the places"),
        pytest.param(of(4, 1, 6, fewer=True), 2, True, id="on with those that there are"),
        pytest.param(of(4, 1, 6, fewer=True, order=3), 3, True, id="as many as it stops for"),
        pytest.param(of(4, 3, 6, fewer=True), 4, False, id="not below the user's min"),
        pytest.param(of(6, 1, 6, fewer=True, order=5), 6, False, id="no size that cannot run"),
    ],
)
def test_how_many_workers(size, workers, told):
    assert (size.aim, size.workers, size.fewer is not None) == (workers, workers, told)


def test_the_users_bounds_are_the_last_word():
    assert LIMITS[-1] is within_bounds
    for least, asked, fits, workers in product((1, 2, 3), (3, 4, 6), (1, 2, 3, 5), (1, 2, 5)):
        aim = of(asked, least, 6, workers, fits=fits, fewer=True).aim
        assert least <= aim <= asked
