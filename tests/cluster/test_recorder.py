"""Events are counted on by whoever comes next, and nobody can cause a storm of them.

Holds: cluster/recorder.py
"""

from typing import Any

import pytest

from preamar.cluster import recorder
from preamar.cluster.port import Conflict
from preamar.cluster.recorder import BURST, REMEMBERED, Recorder
from preamar.core.plan import Event

SAID = Event("Tried", "It was tried.")


class Events:
    """The API server's events, as the recorder's ``call`` meets them."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Any]] = {}
        self.writes = 0

    async def call(self, _client: Any, method: str, path: str, **more: Any) -> dict[str, Any]:
        name = path.rsplit("/", 1)[-1]
        if method == "GET":
            return self.kept[name]
        self.writes += 1
        body = more["body"]
        if method == "POST":
            name = body["metadata"]["name"]
            if name in self.kept:
                raise Conflict("it exists", status=409)
            self.kept[name] = dict(body)
        elif name not in self.kept:
            raise Conflict("it is gone", status=404)
        else:
            self.kept[name] |= body
        return self.kept[name]

    def counts(self) -> list[int]:
        return [event["count"] for event in self.kept.values()]


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Events:
    events = Events()
    monkeypatch.setattr(recorder, "call", events.call)
    return events


def about(name: str = "chat", uid: str = "1") -> dict[str, Any]:
    metadata = {"name": name, "namespace": "demo", "uid": uid}
    return {"apiVersion": "v1", "kind": "Thing", "metadata": metadata}


async def test_repeats_are_counted_in_one_object(events: Events) -> None:
    said = Recorder(None)
    for _ in range(3):
        await said.record(about(), SAID)
    await said.record(about(), Event("Tried", "Something else was."))
    assert events.counts() == [3, 1]


async def test_the_next_process_counts_on(events: Events) -> None:
    await Recorder(None).record(about(), SAID)
    await Recorder(None).record(about(), SAID)
    after = Recorder(None)
    await after.record(about(), SAID)
    await after.record(about(), SAID)
    assert events.counts() == [4]


async def test_an_event_that_the_server_has_dropped_is_said_anew(events: Events) -> None:
    said = Recorder(None)
    await said.record(about(), SAID)
    events.kept.clear()
    await said.record(about(), SAID)
    assert events.counts() == [1]


async def test_a_namesake_has_events_of_its_own(events: Events) -> None:
    said = Recorder(None)
    await said.record(about(uid="1"), SAID)
    await said.record(about(uid="2"), SAID)
    assert events.counts() == [1, 1]


async def test_an_object_that_flaps_is_held_back_and_the_rest_is_not(events: Events) -> None:
    said = Recorder(None)
    for number in range(1000):
        await said.record(about(), Event("Flapped", f"For the {number}th time."))
    assert events.writes <= BURST + 1
    await said.record(about(uid="2"), SAID)
    assert len(events.kept) <= BURST + 2


async def test_what_is_remembered_is_bounded(events: Events) -> None:
    said = Recorder(None)
    for number in range(REMEMBERED + 500):
        await said.record(about(uid=str(number)), SAID)
    assert len(said._counts) <= REMEMBERED
    assert len(said._allowances) <= REMEMBERED
