"""Sizes that were written outside a pass.

Holds: shell/watching/expectations.py
"""

from preamar.core.plan import Event
from preamar.shell.watching.expectations import Ahead
from preamar.shell.watching.keys import Key

KEY = Key("InferenceService", "demo", "chat")
EVENT = Event("DemandMet", "The size is now 2, it was 0.")


def shown(version: int, replicas: int) -> dict:
    return {
        "metadata": {"name": "chat", "resourceVersion": str(version)},
        "spec": {"replicas": replicas, "model": {"name": "chat"}},
    }


def test_a_view_from_before_the_write_is_given_the_size_and_its_version() -> None:
    ahead = Ahead()
    ahead.scaled(KEY, 12, 2, (EVENT,))
    before = shown(11, 0)
    body = ahead.caught_up(KEY, before)
    assert (body["metadata"]["resourceVersion"], body["spec"]["replicas"]) == ("12", 2)
    assert body["spec"]["model"] == {"name": "chat"}
    assert before == shown(11, 0)


def test_a_view_from_after_the_write_is_left_as_it_is() -> None:
    ahead = Ahead()
    ahead.scaled(KEY, 12, 2, (EVENT,))
    assert ahead.caught_up(KEY, shown(13, 3)) == shown(13, 3)


def test_its_event_is_told_once_though_the_watch_is_late() -> None:
    ahead = Ahead()
    ahead.scaled(KEY, 12, 2, (EVENT,))
    assert ahead.unsaid(KEY) == (EVENT,)
    ahead.said(KEY, shown(11, 0))
    assert ahead.unsaid(KEY) == ()
    assert ahead.caught_up(KEY, shown(11, 0))["spec"]["replicas"] == 2
    ahead.said(KEY, shown(12, 2))
    assert ahead.caught_up(KEY, shown(11, 0)) == shown(11, 0)
