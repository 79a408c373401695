"""What gateways count of a revision on trial reaches the operator, and nothing else does.

Holds: demand/book.py, protocol/canary.py
"""

import pytest

from preamar.demand.book import DemandBook
from preamar.protocol.canary import AnswerDifferences, RevisionCounts, Trial
from preamar.protocol.demand import decode
from preamar.protocol.histogram import BOUNDS

TOOK = [0] * len(BOUNDS) + [2]


def report(gateway="a", sequence=9, trial=None):
    load = {"queued": 0, "running": 1, "arrived": 2}
    load |= {"trial": trial} if trial is not None else {}
    return {"gateway": gateway, "sequence": sequence, "services": {"demo/m": load}}


def words(new=3):
    return {"revision": "r2", "old": [5, 1, TOOK], "new": [new, 0, [1]]}


def test_each_gateways_count_is_told():
    book = DemandBook()
    for name, new in (("a", 3), ("b", 4)):
        book.take(decode(report(name, trial=words(new))), 10.0)
    old = RevisionCounts(5, 1, tuple(TOOK))
    told = book.demand("demo/m", 10.5).trials
    assert told == (
        Trial("r2", old, RevisionCounts(3, 0, (1,))),
        Trial("r2", old, RevisionCounts(4, 0, (1,))),
    )
    assert book.demand("demo/m", 99.0).trials == ()


def test_how_far_answers_were_apart_is_told():
    book = DemandBook()
    for name, apart in (("a", [2, 0.5, [-1, 0.25]]), ("b", None)):
        told = words() | ({"apart": apart} if apart else {})
        book.take(decode(report(name, trial=told)), 10.0)
    trials = book.demand("demo/m", 10.5).trials
    assert [t.apart for t in trials] == [
        AnswerDifferences(2, 0.5, (-1.0, 0.25)),
        AnswerDifferences(),
    ]


def test_a_report_without_a_trial_has_none():
    book = DemandBook()
    book.take(decode(report()), 10.0)
    assert book.demand("demo/m", 10.5).trials == ()


@pytest.mark.parametrize(
    "trial",
    [
        7, [], {"revision": "r"}, {"revision": 1, "old": [0, 0, []], "new": [0, 0, []]},
        {"revision": "r", "old": [0, 0], "new": [0, 0, []]},
        {"revision": "r", "old": [-1, 0, []], "new": [0, 0, []]},
        {"revision": "r", "old": [0, True, []], "new": [0, 0, []]},
        {"revision": "r", "old": [0, 0, [0] * 99], "new": [0, 0, []]},
        {"revision": "r", "old": [0, 0, "12"], "new": [0, 0, []]},
        *(words() | {"apart": apart} for apart in (
            None, [1, 2], [-1, 0, [0, 0]], [1, -1, [0, 0]], [1, 0, [0]], [1, 0, "ab"],
            [1, 0, [0, float("nan")]], [1, 0, [0, float("-inf")]], [1, 0, [0, True]], [1, 0, [0, "x"]],
        )),
    ],
)  # fmt: skip
def test_what_is_no_trial_is_refused(trial):
    with pytest.raises((ValueError, KeyError, TypeError)):
        decode(report(trial=trial))
