"""Which replica gets a request: load, likeness, and replicas that fail.

Holds: gateway/routing/affinity.py, gateway/routing/balancer.py, gateway/deadline.py
"""

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preamar.gateway.deadline import seconds_of
from preamar.gateway.errors import Problem
from preamar.gateway.routing import affinity, balancer
from tests.hunting import examples


@dataclass(eq=False)
class Server:
    in_flight: int = 0
    ejected_until: float = 0.0
    seed: int = 0


ONCE = "Once upon a time there was a harbour in which the tide came twice a day."
SERVERS = st.lists(
    st.builds(
        Server, st.integers(0, 9), st.sampled_from([0.0, 0.5, 2.0]), st.integers(0, 2**32 - 1)
    ),
    max_size=8,
)


def talk(system, *said):
    """A conversation as far as its user has said so much."""
    messages = [{"role": "system", "content": system}]
    for text in said:
        messages += [{"role": "user", "content": text}, {"role": "assistant", "content": "Well."}]
    return messages[:-1]


def test_the_replica_with_least_in_flight_and_room_is_picked():
    servers = [Server(3), Server(1), Server(1), Server(2)]
    assert balancer.pick(servers, 8, 0) is servers[1]
    assert balancer.pick(servers, 1, 0) is None
    assert balancer.pick([], 8, 0) is None


@examples(check=25, hunt=2000)
@given(SERVERS, st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_likeness_never_leaves_a_request_without_the_place_that_it_would_have_had(
    servers, room, alike
):
    plain = balancer.pick(servers, room, 1.0)
    found = balancer.pick(servers, room, 1.0, alike)
    assert (found is None) == (plain is None)
    if found is not None:
        assert found.in_flight < room
        assert found.ejected_until <= 1.0
        assert not found.ejected_until or not found.in_flight
        usable = [s for s in servers if balancer.pick([s], 10, 1.0)]
        most = 1.25 * (sum(s.in_flight for s in usable) + 1) / len(usable)
        assert found.in_flight < most + 1 or found is plain


@examples(check=25, hunt=2000)
@given(SERVERS, st.integers(1, 9), st.integers(0, 2**32 - 1), st.integers(0, 7))
def test_a_replica_to_avoid_is_taken_only_where_no_other_can_be(servers, room, alike, which):
    if not servers:
        return
    avoid = servers[which % len(servers)]
    found = balancer.pick(servers, room, 1.0, alike, avoid)
    others = [server for server in servers if server is not avoid]
    if found is avoid:
        assert balancer.pick(others, room, 1.0) is None
    assert (found is None) == (balancer.pick(servers, room, 1.0) is None)


def test_requests_that_begin_alike_meet_and_those_that_do_not_are_spread():
    servers = [Server(seed=seed * 7919) for seed in range(4)]
    alike = affinity.of_text("You are a helpful assistant. " * 40 + "What is the tide?")
    assert alike == affinity.of_text("You are a helpful assistant. " * 40 + "What is a gate?")
    assert len({balancer.pick(servers, 8, 0, alike) for _ in range(9)}) == 1
    places = Counter(
        balancer.pick(servers, 8, 0, affinity.of_text(f"{n}. {ONCE}")).seed for n in range(4000)
    )
    assert len(places) == 4
    assert all(800 < count < 1200 for count in places.values())


def test_a_replica_that_comes_moves_only_what_it_takes():
    servers = [Server(seed=seed * 7919 + 1) for seed in range(5)]
    keys = [affinity.of_text(f"{n}. {ONCE}") for n in range(2000)]
    before = [balancer.pick(servers[:4], 8, 0, key) for key in keys]
    after = [balancer.pick(servers, 8, 0, key) for key in keys]
    moved = [new for old, new in zip(before, after, strict=True) if old is not new]
    assert set(moved) == {servers[4]}
    assert 300 < len(moved) < 500


def test_turns_of_one_conversation_meet_and_other_conversations_do_not():
    first = affinity.of_messages(talk(f"Be kind. {ONCE}", "Hi"))
    assert first == affinity.of_messages(talk(f"Be kind. {ONCE}", "Hi", "And then?", "And then?"))
    assert first != affinity.of_messages(talk(f"Be kind. {ONCE}", "Hello"))
    assert first != affinity.of_messages(talk(f"Be short. {ONCE}", "Hi"))


def test_what_is_short_belongs_nowhere():
    assert affinity.of_text("Hi") == affinity.of_text("x" * 63) == affinity.NONE
    assert affinity.of_messages(talk("Be kind.", "Hi")) == affinity.NONE
    assert affinity.of_text("x" * 64) != affinity.NONE


def test_no_replica_gets_more_than_a_quarter_above_the_mean_for_likeness():
    servers = [Server(seed=seed * 7919) for seed in range(4)]
    for sent in range(1, 81):
        balancer.pick(servers, 100, 0, 12345).in_flight += 1
        most = max(server.in_flight for server in servers)
        assert most <= 1.25 * sent / 4 + 1


def test_an_ejected_replica_returns_with_one_request_at_a_time():
    server = Server(ejected_until=10)
    assert balancer.pick([server], 8, 9) is None
    assert balancer.pick([server], 8, 11) is server
    server.in_flight = 1
    assert balancer.pick([server], 8, 11) is None
    assert balancer.pick([server], 8, 11, 5) is None


def test_replicas_that_cannot_be_reached_are_left_out_longer_each_time():
    missed = [balancer.ejection(n, 0, 0, 1) for n in (1, 2, 3, 4, 9, 99)]
    assert missed == [0, 1, 2, 4, 10, 10]


def test_replicas_that_only_fail_are_left_out_while_at_least_half_remain():
    assert [balancer.ejection(0, n, 0, 4) for n in (2, 3, 4, 99)] == [0, 1, 2, 10]
    assert [balancer.ejection(0, 3, out, 4) for out in (0, 1, 2, 3)] == [1, 1, 0, 0]
    assert balancer.ejection(0, 99, 0, 1) == 0
    assert balancer.ejection(2, 99, 3, 4) == 1


@pytest.mark.parametrize(("text", "seconds"), [("2", 2), ("0.5", 0.5), (" 30s ", 30)])
def test_a_caller_says_in_seconds_how_long_it_waits(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-1", "nan", "inf", "1e9", "soon", "1,5", "0x10"])
def test_what_is_no_time_to_wait_is_refused(text):
    with pytest.raises(Problem, match="x-request-timeout"):
        seconds_of(text)
