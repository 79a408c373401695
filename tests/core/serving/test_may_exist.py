"""Of the replicas that are asked for no more get pods than may exist, and people are told why.

Holds: core/serving/may_exist.py
"""

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from preamar.core.serving.groups.gang import INCOMPLETE, GangLimit
from preamar.core.serving.health.fit_kept import KeptFit
from preamar.core.serving.may_exist import MAY_EXIST, Existing, may_exist, within_gang
from preamar.core.trouble import Trouble

CRASHES = Trouble("ModelCrashes", "It ends again and again.")
GIVEN_UP, FITS = KeptFit(8, 1, given_up=CRASHES), KeptFit(8, 8)
fits = st.sampled_from([GIVEN_UP, FITS])
gangs = st.builds(GangLimit, limit=st.none() | st.integers(0, 5), message=st.just("No node."))


def test_all_that_is_asked_for_may_exist_where_nothing_is_wrong():
    assert may_exist(FITS, GangLimit(), 3) == Existing(3)


def test_what_was_given_up_has_no_pods():
    assert may_exist(GIVEN_UP, GangLimit(), 3) == Existing(0, CRASHES)


def test_groups_that_found_no_place_hold_nothing():
    incomplete = Trouble(INCOMPLETE, "No node.")
    assert may_exist(FITS, GangLimit(limit=1, message="No node."), 3) == Existing(1, incomplete)
    # Also where fewer are asked for: their other pods are still missing.
    assert may_exist(FITS, GangLimit(limit=2, message="No node."), 1) == Existing(1, incomplete)


def test_what_was_given_up_is_told_before_what_found_no_place():
    assert may_exist(GIVEN_UP, GangLimit(limit=1, message="No node."), 3) == Existing(0, CRASHES)
    assert MAY_EXIST[-1] is within_gang


@given(fits, gangs, st.integers(0, 9))
def test_no_limit_adds_a_replica_and_their_order_decides_the_reason_alone(fit, gang, asked):
    found = set()
    for limits in permutations(MAY_EXIST):
        existing = Existing(asked)
        for limit in limits:
            fewer = limit(fit, gang, existing)
            assert 0 <= fewer.replicas <= existing.replicas
            assert fewer.replicas == existing.replicas or fewer.trouble is not None
            existing = fewer
        found.add(existing.replicas)
    assert found == {may_exist(fit, gang, asked).replicas}
