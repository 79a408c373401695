"""Who waits, who is next, and who is turned away: the hold on its own."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from preamar.gateway import waking
from preamar.gateway.hold import Hold, Turn

TENANTS = st.sampled_from("abcd")
COMING = st.tuples(st.just("enter"), TENANTS)
GOING = st.tuples(st.sampled_from(["leave", "next", "back"]), st.integers(0, 30))
STEPS = st.lists(COMING | GOING, max_size=60)


def fill(hold, tenants, bound=1000, first=0):
    """Requests of these tenants come one after another; who was turned away, in that order."""
    gone = []
    for number, tenant in enumerate(tenants, first):
        turn = Turn(number, tenant, 0.0)
        if (other := hold.enter(turn, turn, bound)) is not None:
            gone.append(other)
    return gone


def inside(hold):
    """Empties it."""
    return [(turn.number, turn.tenant) for turn in hold.clear()]


@given(STEPS, st.integers(0, 6))
def test_never_more_wait_than_the_bound_and_they_keep_their_order(steps, bound):
    hold, waiting, number = Hold(), [], 0
    for what, which in steps:
        if what == "enter":
            number += 1
            turn = Turn(number, which, 0.0)
            gone = hold.enter(turn, turn, bound)
            assert (gone is None) == (len(waiting) < bound)
            waiting = [t for t in (*waiting, turn) if t != gone]
        elif what == "leave" and waiting:
            turn = waiting[which % len(waiting)]
            assert hold.leave(turn) == turn
            assert hold.leave(turn) is None
            waiting.remove(turn)
        elif what in {"next", "back"}:
            first = hold.next()
            assert first == (waiting.pop(0) if waiting else None)
            if what == "back" and first is not None:
                assert hold.enter(first, first, bound) is None
                waiting.insert(0, first)
        assert len(hold) == len(waiting) <= bound
        assert hold.first() == (waiting[0] if waiting else None)
        assert set(hold._of) == {turn.tenant for turn in waiting}
    assert hold.clear() == waiting
    assert hold.first() is None
    assert not hold._of


@given(st.lists(TENANTS, max_size=40), st.integers(1, 12))
def test_a_tenant_below_an_equal_share_always_gets_in(before, bound):
    hold = Hold()
    for number, tenant in enumerate(before):
        held = Counter(turn.tenant for turn in hold._waiters)
        turn = Turn(number, tenant, 0.0)
        share = bound // len({*held, tenant})
        gone = hold.enter(turn, turn, bound)
        if held[tenant] < share:
            assert gone != turn
        if gone is not None and gone != turn:
            # Nobody loses a place to a tenant who has as many.
            assert held[gone.tenant] > held[tenant] + 1
            now = Counter(turn.tenant for turn in hold._waiters)
            assert now[gone.tenant] >= bound // len(now)


@given(st.lists(TENANTS, min_size=1, max_size=60), st.integers(1, 12))
def test_who_is_turned_away_is_the_newest_of_its_tenant(coming, bound):
    hold = Hold()
    for number, tenant in enumerate(coming):
        turn = Turn(number, tenant, 0.0)
        gone = hold.enter(turn, turn, bound)
        if gone is not None:
            assert all(gone > other for other in hold._waiters if other.tenant == gone.tenant)


def test_a_tenant_alone_may_fill_the_hold():
    hold = Hold()
    assert fill(hold, "aaa", 3) == []
    assert fill(hold, "a", 3, first=3) == [Turn(3, "a", 0.0)]


def test_tenants_that_come_to_a_full_hold_get_equal_shares_from_the_one_with_the_most():
    hold = Hold()
    fill(hold, "aaaaaa", 6)
    gone = fill(hold, "bbbbcc", 6, first=6)
    assert [(turn.number, turn.tenant) for turn in gone] == [
        (5, "a"), (4, "a"), (3, "a"), (9, "b"), (2, "a"), (8, "b"),
    ]  # fmt: skip
    assert inside(hold) == [(0, "a"), (1, "a"), (6, "b"), (7, "b"), (10, "c"), (11, "c")]


def test_two_tenants_do_not_take_the_same_place_from_each_other():
    hold = Hold()
    fill(hold, "aab", 3)
    assert [turn.number for turn in fill(hold, "baba", 3, first=3)] == [3, 4, 5, 6]


def test_who_comes_back_to_a_full_hold_costs_the_newest_of_its_tenant_the_place():
    hold = Hold()
    fill(hold, "aab", 3)
    first = hold.next()
    fill(hold, "a", 3, first=3)
    assert hold.enter(first, first, 3) == Turn(3, "a", 0.0)
    assert inside(hold) == [(0, "a"), (1, "a"), (2, "b")]


def test_what_is_left_of_a_cold_start_is_told_within_a_second_and_two_minutes():
    assert waking.time_left(31.5, 0) == 32
    assert waking.time_left(31.5, 20.4) == 12
    assert waking.time_left(31.5, 31) == 1
    assert waking.time_left(31.5, 500) == 1
    assert waking.time_left(900, 100) == 120
    assert waking.time_left(0, 0) == 1
    assert waking.time_left(None, 10) == 20
