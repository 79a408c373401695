"""Unknown is not zero: what several gateways say adds up, and silence never lowers anything.

Holds: demand/book.py, demand/means.py
"""

from hypothesis import given
from hypothesis import strategies as st

from preamar.demand.book import (
    FORGOTTEN_SECONDS,
    FRESH_SECONDS,
    MOST_GATEWAYS,
    DemandBook,
    TooMany,
)
from preamar.protocol.demand import Carried, Load, Report

CHAT = "demo/chat"
T0 = 1000.0


def says(gateway: str, sequence: int, queued: int, running: int, **more: object) -> Report:
    return Report(gateway, sequence, {CHAT: Load(queued, running)}, **more)  # type: ignore[arg-type]


def counts(book: DemandBook, now: float) -> tuple[int | None, int, int]:
    """What is known to be in flight, what is at least, and what is queued."""
    found = book.demand(CHAT, now)
    return found.in_flight, found.at_least, found.queued


def a_settled_book(**gateways: int) -> tuple[DemandBook, float]:
    """All gateways have reported twice, over the first five seconds."""
    book, now = DemandBook(), T0
    for step in (0.0, FRESH_SECONDS):
        now = T0 + step
        for name, running in gateways.items():
            book.take(says(name, int(step) + 1, 0, running), now)
    return book, now


def test_nothing_is_known_before_anybody_reports() -> None:
    assert counts(DemandBook(), T0) == (None, 0, 0)


def test_gateways_add_up() -> None:
    book, now = a_settled_book(a=3, b=4)
    assert counts(book, now) == (7, 7, 0)


def test_just_after_the_start_a_first_report_raises_but_is_not_the_whole() -> None:
    book = DemandBook()
    book.take(says("a", 1, 5, 0), T0)
    assert counts(book, T0 + 1) == (None, 5, 5)


def test_becoming_known_is_a_change_though_no_number_changed() -> None:
    book = DemandBook()
    book.take(says("a", 1, 0, 3), T0)
    assert not book.take(says("a", 2, 0, 3), T0 + 1).changed
    assert book.take(says("a", 3, 0, 3), T0 + FRESH_SECONDS).changed == {CHAT}
    assert not book.take(says("a", 4, 0, 3), T0 + FRESH_SECONDS + 1).changed


def test_a_silent_gateway_makes_the_sum_unknown_and_keeps_what_others_say() -> None:
    book, now = a_settled_book(a=3, b=4)
    later = now + FRESH_SECONDS
    book.take(says("a", 9, 0, 2), later)
    assert counts(book, later) == (None, 2, 0)


def test_a_gateway_that_leaves_is_forgotten_at_once() -> None:
    book, now = a_settled_book(a=3, b=4)
    assert book.take(Report("b", 9, {}, leaving=True), now).changed == {CHAT}
    assert counts(book, now) == (3, 3, 0)


def test_a_gateway_that_vanished_is_forgotten_only_while_others_report() -> None:
    book, now = a_settled_book(a=3, b=4)
    much_later = now + FORGOTTEN_SECONDS + 1
    assert book.demand(CHAT, much_later).in_flight is None
    book.take(says("a", 9, 0, 1), much_later)
    assert counts(book, much_later) == (1, 1, 0)


def test_a_service_that_one_gateway_does_not_list_is_not_known_whole() -> None:
    book, now = a_settled_book(a=3, b=4)
    book.take(Report("b", 9, {}), now)
    assert counts(book, now) == (None, 3, 0)


def test_a_first_queued_request_is_urgent_and_the_next_is_not() -> None:
    book, now = a_settled_book(a=0)
    first = book.take(says("a", 8, 1, 0), now)
    second = book.take(says("a", 9, 2, 0), now)
    assert first.urgent == {CHAT}
    assert second.changed == {CHAT}
    assert not second.urgent


def test_a_report_overtaken_on_its_way_changes_nothing() -> None:
    book, now = a_settled_book(a=0)
    book.take(says("a", 9, 0, 5), now)
    assert not book.take(says("a", 8, 7, 0), now + 0.1).changed
    assert book.demand(CHAT, now).at_least == 5


def test_a_restarted_gateway_counts_from_one_again() -> None:
    book, now = a_settled_book(a=0)
    book.take(says("a", 900, 0, 5), now)
    book.take(says("a", 1, 0, 1), now + 2)
    assert book.demand(CHAT, now + 2).at_least == 1


def test_made_up_gateways_are_bounded() -> None:
    book = DemandBook()
    for number in range(MOST_GATEWAYS):
        book.take(says(f"g{number}", 1, 0, 1), T0)
    try:
        book.take(says("one more", 1, 0, 1), T0)
    except TooMany:
        return
    raise AssertionError("the book takes any number of gateways")


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.integers(0, 50),
            st.integers(0, 50),
            st.floats(0, 8),
            st.booleans(),
        ),
        max_size=40,
    )
)
def test_what_is_known_is_what_the_living_said_last(steps: list) -> None:
    book, now, last = DemandBook(), T0, {}
    for number, (name, queued, running, pause, leaves) in enumerate(steps):
        now += pause
        book.take(says(name, number, queued, running, leaving=leaves), now)
        if leaves:
            last.pop(name, None)
        else:
            last[name] = (now, queued + running)
        found = book.demand(CHAT, now)
        fresh = [load for at, load in last.values() if now - at < FRESH_SECONDS]
        assert found.at_least == sum(fresh)
        assert found.in_flight in {None, found.at_least}
        if len(fresh) < len(last):
            assert found.in_flight is None


def test_a_gateway_that_restarts_at_peak_under_its_name_does_not_look_like_no_demand() -> None:
    book, now = a_settled_book(a=30)
    book.take(says("a", 900, 10, 30), now)
    book.take(says("a", 1, 0, 0), now + 2)
    assert counts(book, now + 2) == (None, 0, 0)
    book.take(says("a", 2, 0, 0), now + 2 + FRESH_SECONDS)
    assert counts(book, now + 2 + FRESH_SECONDS) == (0, 0, 0)


def test_a_gateway_that_restarts_at_peak_under_a_new_name_does_not_look_like_no_demand() -> None:
    book, now = a_settled_book(a=30)
    for second in range(2, int(FORGOTTEN_SECONDS)):
        book.take(says("a2", second - 1, 0, 0), now + second)
        assert counts(book, now + second)[0] is None
    book.take(says("a2", 900, 0, 0), now + FORGOTTEN_SECONDS)
    assert counts(book, now + FORGOTTEN_SECONDS) == (0, 0, 0)


def test_the_only_gateway_may_say_farewell_and_begin_anew_without_looking_like_no_demand() -> None:
    book, now = a_settled_book(a=30)
    book.take(says("a", 9, 0, 0, leaving=True), now)
    assert counts(book, now)[0] is None
    book.take(says("a2", 1, 0, 0), now + 1)
    assert counts(book, now + 1) == (None, 0, 0)
    book.take(says("a2", 7, 0, 25), now + 1 + FRESH_SECONDS)
    assert counts(book, now + 1 + FRESH_SECONDS) == (25, 25, 0)


def test_requests_that_a_leaving_gateway_cuts_are_expected_elsewhere_before_they_ask_there() -> (
    None
):
    book, now = a_settled_book(a=30, b=2)
    book.take(says("a", 9, 0, 7, leaving=True), now)
    assert counts(book, now) == (None, 2, 0)
    book.take(says("b", 9, 0, 9), now + FRESH_SECONDS)
    assert counts(book, now + FRESH_SECONDS) == (9, 9, 0)


def test_what_each_replica_carries_adds_up_over_gateways_and_the_longest_wait_counts() -> None:
    book, now = a_settled_book(a=0, b=0)
    one = Load(1, 3, oldest_wait=2.5, pods={"10.0.0.1": Carried(2, 70), "10.0.0.2": Carried(1, 0)})
    two = Load(1, 1, oldest_wait=0.5, pods={"10.0.0.1": Carried(1, 30)})
    book.take(Report("a", 9, {CHAT: one}), now)
    book.take(Report("b", 9, {CHAT: two}), now)
    found = book.demand(CHAT, now)
    assert found.pods == {"10.0.0.1": Carried(3, 100), "10.0.0.2": Carried(1, 0)}
    assert found.oldest_wait == 2.5


def test_while_somebody_waits_each_report_is_news_and_tokens_alone_are_none() -> None:
    book, now = a_settled_book(a=0)
    stuck = Load(1, 0, oldest_wait=2.0)
    book.take(Report("a", 8, {CHAT: stuck}), now)
    assert book.take(Report("a", 9, {CHAT: stuck}), now).changed == {CHAT}
    book.take(Report("a", 10, {CHAT: Load(0, 1, pods={"10.0.0.1": Carried(1, 90)})}), now)
    fewer = Load(0, 1, pods={"10.0.0.1": Carried(1, 80)})
    assert not book.take(Report("a", 11, {CHAT: fewer}), now).changed


def finishing(book: DemandBook, seconds: list[float], now: float, **first: object) -> float | None:
    """One report a second, in each of which one more request has finished."""
    total = 0.0
    for number, took in enumerate(seconds):
        total += took
        load = Load(0, 0, number + 1, number + 1, total, number + 1, total / 10)
        book.take(Report("a", 100 + number, {CHAT: load}), now)
        now += 1
    return book.demand(CHAT, now).service_seconds


def test_how_long_a_request_takes_is_known_after_five_and_follows_the_last_five_hundred() -> None:
    book, now = a_settled_book(a=0)
    assert finishing(book, [2.0] * 4, now) is None
    book, now = a_settled_book(a=0)
    assert finishing(book, [2.0] * 5, now) == 2.0
    assert round(book.demand(CHAT, now).first_token_seconds, 6) == 0.2
    book, now = a_settled_book(a=0)
    later = finishing(book, [2.0] * 1000 + [4.0] * 500, now)
    assert 3.2 < later < 3.4  # a weight of 1/e is left for all before


def test_a_restart_of_a_gateway_does_not_unlearn_how_long_a_request_takes() -> None:
    book, now = a_settled_book(a=0)
    finishing(book, [2.0] * 100, now)
    book.take(Report("a", 1, {CHAT: Load(0, 0, 3, 3, 900.0)}), now + 200)
    book.take(Report("a", 2, {CHAT: Load(0, 0, 4, 4, 902.0)}), now + 201)
    assert book.demand(CHAT, now + 201).service_seconds == 2.0
