"""When is the operator taken for dead, and when for ready?

Holds: shell/audit.py, shell/probes.py, shell/watching/keys.py, shell/watching/mirror.py,
shell/watching/watch_health.py
"""

import asyncio
import time
from typing import Any

import kopf
import pytest
from kopf._cogs.clients import api, watching

from preamar.protocol.labels import OURS
from preamar.shell import probes
from preamar.shell.audit import Audit
from preamar.shell.figures.metrics import Metrics
from preamar.shell.probes import SILENT_SECONDS, OperatorHealth
from preamar.shell.watching.keys import SERVICE_KIND, Key
from preamar.shell.watching.mirror import Mirror, Watched
from preamar.shell.watching.watch_health import WatchHealth, hearing

PODS = Watched("v1", "Pod", "pods", OURS)
CHAT = Key(SERVICE_KIND, "demo", "chat")


class Resource:
    plural = "pods"


class Index(dict):
    """As Kopf's: a list of values for each key."""


def a_mirror(*held: tuple[str, int]) -> Mirror:
    mirror = Mirror()
    mirror.watched.append(PODS)
    bodies = [{"metadata": {"uid": uid, "resourceVersion": str(version)}} for uid, version in held]
    mirror.connect({"pods": Index({CHAT: bodies} if bodies else {})})
    return mirror


def a_health(mirror: Mirror, ears: WatchHealth, oldest: float = 0.0) -> OperatorHealth:
    return OperatorHealth(mirror, ears, lambda: oldest, Metrics())


async def test_every_thing_that_kopf_hears_is_heard_bookmarks_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[Any] = [{"type": None}, watching.Bookmark.LISTED, {"type": "BOOKMARK"}]

    async def stream(*, resource: Any, **_: Any) -> Any:
        for event in told:
            yield event

    monkeypatch.setattr(watching, "infinite_watch", stream)
    with hearing() as ears:
        heard = [event async for event in watching.infinite_watch(resource=Resource())]
        assert heard == told
        assert ears.listed == {"pods"}
        assert ears.objects == 1
        assert ears.ended == {"pods"}
        assert ears.silent_seconds("pods") < 1
    assert watching.infinite_watch is stream


def test_kopf_still_has_the_function_that_is_listened_to() -> None:
    import inspect

    from kopf._core.reactor import queueing

    assert "watching.infinite_watch(" in inspect.getsource(queueing.watcher)
    assert "resource" in inspect.signature(watching.infinite_watch).parameters


def test_a_lively_operator_has_no_problems() -> None:
    ears = WatchHealth(at={"pods": time.monotonic()})
    assert list(a_health(a_mirror(), ears).problems()) == []


def test_a_silent_watch_is_a_problem_after_ninety_seconds() -> None:
    ears = WatchHealth(at={"pods": time.monotonic() - 91})
    (problem,) = a_health(a_mirror(), ears).problems()
    assert "pods has been silent" in problem


def test_a_watch_is_connected_anew_before_its_silence_is_a_problem() -> None:
    assert kopf.OperatorSettings().watching.inactivity_timeout < SILENT_SECONDS - 15


async def test_a_watch_that_is_connected_anew_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind of which nothing changes may get no bookmark in time."""
    fails = False

    async def request(method: str, url: str, **_: Any) -> str:
        if fails:
            raise ConnectionError
        return "200"

    monkeypatch.setattr(api, "request", request)
    with hearing() as ears:
        ears.at["trainingjobs"] = before = time.monotonic() - 80
        place = "/apis/preamar.dev/v1alpha1/trainingjobs"
        assert await api.request(method="get", url=f"{place}?limit=500") == "200"
        assert ears.at["trainingjobs"] == before
        fails = True
        with pytest.raises(ConnectionError):
            await api.request(method="get", url=f"{place}?watch=true&resourceVersion=7")
        assert ears.at["trainingjobs"] == before
        fails = False
        await api.request(method="get", url=f"{place}?watch=true&resourceVersion=7")
        assert ears.silent_seconds("trainingjobs") < 1
    assert api.request is request


def test_kopf_still_asks_for_a_watch_by_that_request() -> None:
    import inspect

    assert "await request(" in inspect.getsource(api.stream)
    assert "api.stream(" in inspect.getsource(watching.watch_objs)
    assert "params['watch'] = 'true'" in inspect.getsource(watching.watch_objs)


def test_a_watch_that_ended_is_a_problem_unless_it_begins_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ears = WatchHealth(at={"pods": time.monotonic()}, ended={"pods"})
    health = a_health(a_mirror(), ears)
    assert list(health.problems()) == []
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 21)
    assert "the watch of pods has ended" in list(health.problems())
    ears.ended.clear()
    ears.at["pods"] = now + 21
    assert not [problem for problem in health.problems() if "ended" in problem]


def test_a_key_that_waits_too_long_is_a_problem() -> None:
    ears = WatchHealth(at={"pods": time.monotonic()})
    (problem,) = a_health(a_mirror(), ears, oldest=130).problems()
    assert "130 s" in problem


async def test_a_blocked_loop_is_a_problem_and_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "BEAT_SECONDS", 0.01)
    ears = WatchHealth(at={"pods": time.monotonic()})
    metrics = Metrics()
    health = OperatorHealth(a_mirror(), ears, lambda: 0.0, metrics)
    pulse = asyncio.create_task(health.beat())
    await asyncio.sleep(0)
    time.sleep(0.2)  # noqa: ASYNC251
    while not metrics.lag._value.get():  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    pulse.cancel()
    assert metrics.lag._value.get() > 0.18


def test_ready_means_that_every_list_is_complete_and_every_index_full() -> None:
    mirror, ears = a_mirror(), WatchHealth()
    health = a_health(mirror, ears)
    assert not health.indices_full()
    ears.listed.add("pods")
    assert health.indices_full(), "nothing was listed, so nothing is awaited"
    ears.objects = 3
    assert not health.indices_full(), "what was listed is not indexed yet"
    mirror.full = True
    assert health.indices_full()


def an_audit(mirror: Mirror, *counts: dict[str, int]) -> tuple[Audit, OperatorHealth, list[Key]]:
    added: list[Key] = []
    health = a_health(mirror, WatchHealth())
    left = list(counts)

    async def census(_watched: Watched, _namespace: str) -> dict[str, int]:
        return left.pop(0) if len(left) > 1 else left[0]

    return Audit(mirror, health, added.append, census), health, added


@pytest.mark.looptime
async def test_an_audit_without_differences_says_nothing() -> None:
    audit, health, added = an_audit(a_mirror(("a", 5)), {"a": 5})
    await audit.check(PODS)
    assert not added
    assert health.worry is None


@pytest.mark.looptime
async def test_a_ghost_is_left_out_from_then_on() -> None:
    mirror = a_mirror(("a", 5), ("ghost", 6))
    audit, health, added = an_audit(mirror, {"a": 5})
    await audit.check(PODS)
    assert mirror.ghosts == {"ghost"}
    assert added == [CHAT]
    assert health.worry is None


@pytest.mark.looptime
@pytest.mark.parametrize("counted", [{"a": 5, "new": 7}, {"a": 9}], ids=["missed", "stale"])
async def test_a_change_that_a_watch_never_showed_is_a_reason_to_restart(
    counted: dict[str, int],
) -> None:
    audit, health, _ = an_audit(a_mirror(("a", 5)), counted)
    await audit.check(PODS)
    assert health.worry is not None
    assert "pods" in health.worry


@pytest.mark.looptime
async def test_a_watch_that_is_a_moment_behind_is_no_reason() -> None:
    audit, health, added = an_audit(a_mirror(("a", 5)), {"a": 9}, {"a": 5})
    await audit.check(PODS)
    assert health.worry is None
    assert not added
