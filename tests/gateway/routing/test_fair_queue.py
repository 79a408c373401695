"""Who waits, who is next, and who is turned away: the hold on its own.

Holds: gateway/routing/fair_queue.py, gateway/routing/retry_after.py
"""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from preamar.gateway.routing import retry_after
from preamar.gateway.routing.fair_queue import Hold, Turn
from tests.hunting import examples

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


def taken(hold):
    """Whose turn it is, who then no longer waits; None where nobody does."""
    return hold.next()[1] if len(hold) else None


def inside(hold):
    """Empties it, in the order of arrival."""
    return [(turn.number, turn.tenant) for turn in hold.clear()]


@examples(check=25, hunt=2000)
@given(STEPS, st.integers(0, 6))
def test_never_more_wait_than_the_bound_and_each_tenant_keeps_its_order(steps, bound):
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
            first = taken(hold)
            assert (first is None) == (not waiting)
            if first is None:
                continue
            assert first == min(turn for turn in waiting if turn.tenant == first.tenant)
            if what == "back":
                assert hold.enter(first, first, bound) is None
                assert taken(hold) == first
                assert hold.enter(first, first, bound) is None
            else:
                waiting.remove(first)
        assert len(hold) == len(waiting) <= bound
        assert hold.first() == (min(waiting) if waiting else None)
        assert set(hold._of) == {turn.tenant for turn in waiting}
    assert hold.clear() == sorted(waiting)
    assert hold.first() is None
    assert not hold._of


@examples(check=25, hunt=2000)
@given(st.dictionaries(TENANTS, st.integers(1, 30), min_size=1), st.randoms())
def test_tenants_that_wait_are_served_in_turn(asked, random):
    hold, number = Hold(), 0
    coming = [tenant for tenant, count in asked.items() for _ in range(count)]
    random.shuffle(coming)
    for tenant in coming:
        turn = Turn(number := number + 1, tenant, 0.0)
        hold.enter(turn, turn, 1000)
    served, left = Counter(), Counter(coming)
    while (turn := taken(hold)) is not None:
        served[turn.tenant] += 1
        left[turn.tenant] -= 1
        # Nobody who still waits has been served two times less than anybody.
        assert (
            max(served.values()) - min(served[t] for t in left if left[t]) <= 1 if +left else True
        )


def test_one_that_asks_little_does_not_wait_behind_all_that_another_asked():
    hold = Hold()
    fill(hold, "a" * 50)
    assert [taken(hold).tenant for _ in range(20)] == ["a"] * 20
    fill(hold, "b", first=50)
    assert "b" in {taken(hold).tenant for _ in range(2)}
    # Having been away earns nothing: it may not now take all turns.
    fill(hold, "b" * 10, first=51)
    assert Counter(taken(hold).tenant for _ in range(10))["b"] <= 6


def test_priority_goes_first_and_is_the_last_to_be_turned_away():
    hold = Hold()
    fill(hold, "aaa", 4)
    urgent = Turn(3, "z", 0.0, priority=5)
    hold.enter(urgent, urgent, 4)
    more = Turn(4, "z", 0.0, priority=5)
    assert hold.enter(more, more, 4) == Turn(2, "a", 0.0)
    assert [taken(hold).number for _ in range(4)] == [3, 4, 0, 1]


def test_what_is_remembered_of_tenants_is_bounded():
    hold = Hold()
    for number in range(5000):
        turn = Turn(number, f"t{number}", 0.0)
        hold.enter(turn, turn, 10)
        taken(hold)
    assert len(hold._tag) <= 1002


@examples(check=25, hunt=2000)
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


@examples(check=25, hunt=2000)
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
    first = taken(hold)
    fill(hold, "a", 3, first=3)
    assert hold.enter(first, first, 3) == Turn(3, "a", 0.0)
    assert inside(hold) == [(0, "a"), (1, "a"), (2, "b")]


def test_what_is_left_of_a_cold_start_is_told_within_a_second_and_two_minutes():
    assert retry_after.time_left(31.5, 0) == 32
    assert retry_after.time_left(31.5, 20.4) == 12
    assert retry_after.time_left(31.5, 31) == 1
    assert retry_after.time_left(31.5, 500) == 1
    assert retry_after.time_left(900, 100) == 120
    assert retry_after.time_left(0, 0) == 1
    assert retry_after.time_left(None, 10) == 20
