"""Every arrival is in the history once, in the second it came in, or the history does not reach it.

Holds: demand/arrivals.py
"""

import json
import sys
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from preamar.demand.arrivals import LONGEST_SECONDS, MOST_HISTORIES, SLACK_SECONDS, Arrivals, spread
from preamar.demand.book import FORGOTTEN_SECONDS, MOST_SERVICES, DemandBook
from preamar.protocol.demand import Load, Report, decode

CHAT = "demo/chat"
T0 = 1000.0


class Gateway:
    """One life of a gateway: totals that only grow, and a report of them."""

    def __init__(self, book: DemandBook, name: str, sequence: int = 0) -> None:
        self.book, self.name, self.sequence, self.arrived = book, name, sequence, 0

    def report(self, now: float, more: int = 0, **how: object) -> None:
        self.sequence += 1
        self.arrived += more
        services = {CHAT: Load(0, 0, self.arrived)}
        self.book.take(Report(self.name, self.sequence, services, **how), now)  # type: ignore[arg-type]


def steady(*gateways: Gateway, begin: float, seconds: int, each: int = 1) -> float:
    """Reports on each whole second; ``each`` requests arrived at each gateway in between."""
    for second in range(seconds + 1):
        for gateway in gateways:
            gateway.report(begin + second, each if second else 0)
    return begin + seconds


def test_arrivals_of_all_gateways_add_up_in_their_second() -> None:
    book = DemandBook()
    now = steady(Gateway(book, "a"), Gateway(book, "b"), begin=T0, seconds=5, each=3)
    assert book.demand(CHAT, now).arrivals == (6, 6, 6, 6, 6)


def test_a_service_that_nobody_asked_for_has_zeros_and_not_nothing() -> None:
    book = DemandBook()
    now = steady(Gateway(book, "a"), begin=T0, seconds=4)
    assert book.demand("demo/other", now).arrivals == (0, 0, 0, 0)


def test_what_a_gateway_had_counted_before_we_heard_it_is_no_burst() -> None:
    book = DemandBook()
    old = Gateway(book, "a", sequence=5000)
    old.arrived = 1_000_000
    now = steady(old, begin=T0, seconds=3)
    assert book.demand(CHAT, now).arrivals == (1, 1, 1)


def test_the_arrivals_of_a_lost_report_are_spread_over_its_seconds() -> None:
    book = DemandBook()
    gateway = Gateway(book, "a")
    now = steady(gateway, begin=T0, seconds=2)
    gateway.report(now + 4, 8)
    assert book.demand(CHAT, now + 4).arrivals == (1, 1, 2, 2, 2, 2)


def test_a_history_ends_where_the_slowest_gateway_has_told_and_is_empty_while_one_is_silent() -> (
    None
):
    book = DemandBook()
    a, b = Gateway(book, "a"), Gateway(book, "b")
    now = steady(a, b, begin=T0, seconds=3)
    for second in (1, 2, 3):
        a.report(now + second, 1)
    assert book.demand(CHAT, now + 3).arrivals == (2, 2, 2)
    a.report(now + 5, 1)
    assert book.demand(CHAT, now + 5).arrivals == ()
    b.report(now + 6, 6)
    a.report(now + 6, 1)
    assert book.demand(CHAT, now + 6).arrivals == (2, 2, 2, 2, 2, 2, 1, 2, 2)


def test_a_gateway_that_dies_ends_the_history_and_one_that_leaves_does_not() -> None:
    book = DemandBook()
    a, b = Gateway(book, "a"), Gateway(book, "b")
    now = steady(a, b, begin=T0, seconds=10)
    b.report(now + 0.5, 1, leaving=True)
    fresh = Gateway(book, "b2")
    now = steady(a, fresh, begin=now + 1, seconds=3)
    assert book.demand(CHAT, now).arrivals == (2,) * 10 + (1,) + (2, 2, 2)
    killed = Gateway(book, "b2")
    killed.report(now + 2.5)
    now = steady(a, killed, begin=now + 3, seconds=3)
    assert book.demand(CHAT, now).arrivals == (2, 2, 2)


def test_after_a_gateway_that_vanished_is_forgotten_the_history_begins_with_its_death() -> None:
    book = DemandBook()
    a, b = Gateway(book, "a"), Gateway(book, "b")
    now = steady(a, b, begin=T0, seconds=3)
    later = steady(a, begin=now, seconds=int(FORGOTTEN_SECONDS))
    assert book.demand(CHAT, later).arrivals == (1,) * (int(FORGOTTEN_SECONDS) - 1)


def test_a_gateway_that_served_before_we_heard_it_ends_the_history_and_a_newborn_does_not() -> None:
    book = DemandBook()
    a = Gateway(book, "a")
    now = steady(a, begin=T0, seconds=5)
    Gateway(book, "newborn").report(now)
    assert len(book.demand(CHAT, now).arrivals) == 5
    Gateway(book, "old", sequence=100).report(now)
    assert book.demand(CHAT, now).arrivals == ()


def test_a_service_that_was_made_anew_counts_from_zero() -> None:
    book = DemandBook()
    a = Gateway(book, "a")
    now = steady(a, begin=T0, seconds=2, each=50)
    a.arrived = 0
    a.report(now + 1, 3)
    assert book.demand(CHAT, now + 1).arrivals == (50, 50, 3)


def test_half_an_hour_is_kept_and_no_more() -> None:
    book = DemandBook()
    now = steady(Gateway(book, "a"), begin=T0, seconds=LONGEST_SECONDS + 700)
    assert book.demand(CHAT, now).arrivals == (1,) * LONGEST_SECONDS
    assert book._arrivals.bytes <= 2 * (LONGEST_SECONDS + SLACK_SECONDS)


@given(st.integers(0, 10_000), st.floats(0, 1000), st.floats(0, 100))
def test_spreading_loses_and_makes_up_nothing(count: int, since: float, length: float) -> None:
    shares = list(spread(count, since, since + length))
    assert sum(share for _, share in shares) == count
    assert all(share > 0 for _, share in shares)
    seconds = [second for second, _ in shares]
    assert seconds == sorted(set(seconds))
    assert not seconds or (seconds[0] >= int(since) and seconds[-1] <= int(since + length))


@given(st.lists(st.tuples(st.integers(0, 4000), st.integers(1, 9)), max_size=60))
def test_a_history_is_what_a_plain_table_would_be(found: list[tuple[int, int]]) -> None:
    arrivals, table = Arrivals(), {}
    newest = 0
    for second, count in found:
        newest = max(newest, second)
        if second < newest - 120:
            continue  # no report tells of a time before two minutes ago
        arrivals.add(CHAT, count, second + 0.5, second + 0.5)
        table[second] = table.get(second, 0) + count
    end = newest + 1
    begin = max(0, end - LONGEST_SECONDS)
    expected = tuple(table.get(second, 0) for second in range(begin, end))
    assert arrivals.told(CHAT, end) == expected


def test_histories_are_bounded_and_one_that_found_no_room_is_unknown() -> None:
    arrivals = Arrivals()
    for number in range(MOST_HISTORIES):
        arrivals.add(f"s{number}", 1, 10.0, 10.5)
    arrivals.add("one more", 1, 10.0, 10.5)
    assert arrivals.told("one more", 20.0) == ()
    assert len(arrivals.told("s1", 20.0)) == 20
    arrivals.prune(11.0 + LONGEST_SECONDS)
    assert arrivals.bytes == 0


def calls(act: Callable[[], object]) -> int:
    """How many functions it calls, of Python and of C: what it costs, whatever else runs."""
    count = 0

    def counted(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        act()
    finally:
        sys.setprofile(before)
    return count


def told(services: int, seconds: int) -> tuple[DemandBook, int]:
    """A book after so many reports of so many services, and the most calls that one report cost."""
    book = DemandBook()
    names = [f"team-{number % 50}/model-{number}" for number in range(services)]
    worst = 0
    for second in range(seconds):
        idle = {"queued": 0, "running": 0, "arrived": 0}
        busy = {
            "queued": 1,
            "running": 4,
            "arrived": 9 * second,
            "finished": 8 * second,
            "busySeconds": 3.5 * second,
            "pods": {"10.0.0.1": {"running": 4, "tokensLeft": 5}},
        }
        loads = {name: busy if at % 10 == 0 else idle for at, name in enumerate(names)}
        report = {"gateway": "a", "sequence": second + 1, "services": loads}
        found = json.loads(json.dumps(report))
        worst = max(worst, calls(lambda found=found, at=T0 + second: book.take(decode(found), at)))
    return book, worst


def test_ten_thousand_services_cost_a_few_calls_each_and_few_bytes() -> None:
    _, of_few = told(MOST_SERVICES // 10, 3)
    book, of_many = told(MOST_SERVICES, 3)
    assert of_many < 60 * MOST_SERVICES
    assert of_many < 1.2 * 10 * of_few, "it grows with the services and not faster"
    assert book._arrivals.bytes < 1000 * 2 * 32
    assert book.demand("team-0/model-0", T0 + 2).arrivals == (9,) * 2
