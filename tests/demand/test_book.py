"""Unknown is not zero: what several gateways say adds up, and silence never lowers anything."""

from hypothesis import given
from hypothesis import strategies as st

from preamar.demand.book import (
    FORGOTTEN_SECONDS,
    FRESH_SECONDS,
    MOST_GATEWAYS,
    Demand,
    DemandBook,
    Load,
    Report,
    TooMany,
)

CHAT = "demo/chat"
T0 = 1000.0


def says(gateway: str, sequence: int, queued: int, running: int, **more: object) -> Report:
    return Report(gateway, sequence, {CHAT: Load(queued, running)}, **more)  # type: ignore[arg-type]


def a_settled_book(**gateways: int) -> tuple[DemandBook, float]:
    """All gateways have reported twice, over the first five seconds."""
    book, now = DemandBook(), T0
    for step in (0.0, FRESH_SECONDS):
        now = T0 + step
        for name, running in gateways.items():
            book.take(says(name, int(step) + 1, 0, running), now)
    return book, now


def test_nothing_is_known_before_anybody_reports() -> None:
    assert DemandBook().demand(CHAT, T0) == Demand(None, 0, 0)


def test_gateways_add_up() -> None:
    book, now = a_settled_book(a=3, b=4)
    assert book.demand(CHAT, now) == Demand(7, 7, 0)


def test_just_after_the_start_a_first_report_raises_but_is_not_the_whole() -> None:
    book = DemandBook()
    book.take(says("a", 1, 5, 0), T0)
    assert book.demand(CHAT, T0 + 1) == Demand(None, 5, 5)


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
    assert book.demand(CHAT, later) == Demand(None, 2, 0)


def test_a_gateway_that_leaves_is_forgotten_at_once() -> None:
    book, now = a_settled_book(a=3, b=4)
    assert book.take(Report("b", 9, {}, leaving=True), now).changed == {CHAT}
    assert book.demand(CHAT, now) == Demand(3, 3, 0)


def test_a_gateway_that_vanished_is_forgotten_only_while_others_report() -> None:
    book, now = a_settled_book(a=3, b=4)
    much_later = now + FORGOTTEN_SECONDS + 1
    assert book.demand(CHAT, much_later).in_flight is None
    book.take(says("a", 9, 0, 1), much_later)
    assert book.demand(CHAT, much_later) == Demand(1, 1, 0)


def test_a_service_that_one_gateway_does_not_list_is_not_known_whole() -> None:
    book, now = a_settled_book(a=3, b=4)
    book.take(Report("b", 9, {}), now)
    assert book.demand(CHAT, now) == Demand(None, 3, 0)


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
