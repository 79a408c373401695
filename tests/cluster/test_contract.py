"""What we rely on an API server for, asked of the fake and of a real one alike.

Holds: cluster/live.py, cluster/memory.py, cluster/port.py
"""

import pytest

from preamar.cluster.port import Conflict, Refused
from preamar.core.plan import Event, Mark, Ref
from tests.cluster.worlds import World, a_deployment, both_worlds, container_of

world = both_worlds


async def test_what_is_not_there_reads_as_none(world: World) -> None:
    assert await world.cluster.read(Ref("apps/v1", "Deployment", world.namespace, "none")) is None


async def test_an_apply_creates_and_reads_back(world: World) -> None:
    version = await world.cluster.apply(a_deployment(world, "made", replicas=3))
    found = await world.cluster.read(world.ref("made"))
    assert found is not None
    assert found["spec"]["replicas"] == 3
    assert found["metadata"]["resourceVersion"] == version
    assert found["metadata"]["uid"]


async def test_the_same_apply_again_changes_nothing(world: World) -> None:
    first = await world.cluster.apply(a_deployment(world, "same"))
    assert await world.cluster.apply(a_deployment(world, "same")) == first


async def test_a_field_no_longer_sent_goes_away(world: World) -> None:
    await world.cluster.apply(a_deployment(world, "less", annotations={"a": "1", "b": "2"}))
    await world.cluster.apply(a_deployment(world, "less", annotations={"a": "1"}))
    found = await world.cluster.read(world.ref("less"))
    assert found is not None
    assert found["metadata"]["annotations"] == {"a": "1"}


async def test_an_environment_variable_no_longer_sent_goes_away_alone(world: World) -> None:
    await world.cluster.apply(a_deployment(world, "env", env={"A": "1", "B": "2"}))
    await world.cluster.apply(a_deployment(world, "env", env={"B": "3"}))
    found = await world.cluster.read(world.ref("env"))
    assert found is not None
    assert container_of(found)["env"] == [{"name": "B", "value": "3"}]


async def test_what_a_stranger_adds_stays_and_what_he_changes_is_put_right(world: World) -> None:
    await world.cluster.apply(a_deployment(world, "meddled", replicas=1))

    def meddle(body: dict) -> None:
        body["metadata"].setdefault("annotations", {})["stranger"] = "was here"
        body["spec"]["replicas"] = 7

    edited = await world.edit(world.ref("meddled"), meddle)
    version = await world.cluster.apply(a_deployment(world, "meddled", replicas=1))
    found = await world.cluster.read(world.ref("meddled"))
    assert found is not None
    assert found["metadata"]["annotations"]["stranger"] == "was here"
    assert found["spec"]["replicas"] == 1
    assert version != edited["metadata"]["resourceVersion"]


async def test_a_field_that_another_took_over_is_left_when_we_stop_sending_it(world: World) -> None:
    await world.cluster.apply(a_deployment(world, "taken", annotations={"a": "1"}))

    def take(body: dict) -> None:
        body["metadata"]["annotations"]["a"] = "2"

    await world.edit(world.ref("taken"), take)
    await world.cluster.apply(a_deployment(world, "taken"))
    found = await world.cluster.read(world.ref("taken"))
    assert found is not None
    assert found["metadata"]["annotations"]["a"] == "2"


async def test_an_apply_decided_on_an_older_version_is_a_conflict(world: World) -> None:
    old = await world.cluster.apply(a_deployment(world, "fenced", replicas=1))
    await world.cluster.apply(a_deployment(world, "fenced", replicas=2))
    late = a_deployment(world, "fenced", replicas=9)
    late["metadata"]["resourceVersion"] = old
    with pytest.raises(Conflict):
        await world.cluster.apply(late)


async def test_an_apply_for_another_uid_is_a_conflict(world: World) -> None:
    await world.cluster.apply(a_deployment(world, "namesake"))
    other = a_deployment(world, "namesake")
    other["metadata"]["uid"] = "00000000-1111-4222-8333-444444444444"
    with pytest.raises(Conflict):
        await world.cluster.apply(other)


async def test_an_apply_for_a_uid_that_is_gone_makes_nothing(world: World) -> None:
    ghost = a_deployment(world, "ghost")
    ghost["metadata"]["uid"] = "00000000-1111-4222-8333-444444444444"
    with pytest.raises(Conflict):
        await world.cluster.apply(ghost)
    assert await world.cluster.read(world.ref("ghost")) is None


async def test_a_status_for_another_uid_is_a_conflict(world: World) -> None:
    await world.cluster.apply(a_deployment(world, "heir"))
    status = a_deployment(world, "heir")
    del status["spec"]
    status["metadata"]["uid"] = "00000000-1111-4222-8333-444444444444"
    status["status"] = {"replicas": 4}
    with pytest.raises(Conflict):
        await world.cluster.patch_status(status)


async def test_status_is_written_apart_and_objects_do_not_touch_it(world: World) -> None:
    await world.cluster.apply(a_deployment(world, "told", replicas=1))
    status = a_deployment(world, "told")
    del status["spec"]
    status["status"] = {"replicas": 4, "conditions": [_condition("Available", "True")]}
    version = await world.cluster.patch_status(status)
    assert await world.cluster.patch_status(status) == version
    await world.cluster.apply(a_deployment(world, "told", replicas=2))
    found = await world.cluster.read(world.ref("told"))
    assert found is not None
    assert found["spec"]["replicas"] == 2
    assert found["status"]["replicas"] == 4
    assert found["status"]["conditions"][0]["type"] == "Available"


async def test_a_condition_of_ours_that_we_drop_goes_and_a_strangers_stays(world: World) -> None:
    await world.cluster.apply(a_deployment(world, "conditions"))
    status = a_deployment(world, "conditions")
    del status["spec"]
    status["status"] = {"conditions": [_condition("A", "True"), _condition("B", "True")]}
    await world.cluster.patch_status(status)
    status["status"] = {"conditions": [_condition("B", "False")]}
    await world.cluster.patch_status(status)
    found = await world.cluster.read(world.ref("conditions"))
    assert found is not None
    assert [(c["type"], c["status"]) for c in found["status"]["conditions"]] == [("B", "False")]


async def test_the_status_of_what_is_gone_is_a_conflict(world: World) -> None:
    status = a_deployment(world, "gone")
    status["status"] = {"replicas": 1}
    with pytest.raises(Conflict):
        await world.cluster.patch_status(status)


async def test_scale_writes_the_size_at_the_version_it_was_decided_on(world: World) -> None:
    old = await world.cluster.apply(a_deployment(world, "sized", replicas=None))
    new = await world.cluster.scale(world.ref("sized"), 5, old)
    found = await world.cluster.read(world.ref("sized"))
    assert found is not None
    assert found["spec"]["replicas"] == 5
    assert found["metadata"]["resourceVersion"] == new
    with pytest.raises(Conflict):
        await world.cluster.scale(world.ref("sized"), 0, old)


async def test_the_size_that_scale_wrote_survives_an_apply_without_it(world: World) -> None:
    version = await world.cluster.apply(a_deployment(world, "kept", replicas=None))
    await world.cluster.scale(world.ref("kept"), 5, version)
    await world.cluster.apply(a_deployment(world, "kept", replicas=None, annotations={"a": "1"}))
    found = await world.cluster.read(world.ref("kept"))
    assert found is not None
    assert found["spec"]["replicas"] == 5


async def test_scaling_what_is_gone_is_a_conflict(world: World) -> None:
    with pytest.raises(Conflict):
        await world.cluster.scale(world.ref("never"), 1, "1")


async def test_a_mark_writes_one_annotation_and_nothing_beside_it(world: World) -> None:
    await world.cluster.apply(a_deployment(world, "marked", replicas=3, annotations={"a": "1"}))
    before = await world.cluster.read(world.ref("marked"))
    assert before is not None
    for value in ("-1", "-2"):
        mark = Mark(world.ref("marked"), before["metadata"]["uid"], "example.com/cost", value)
        await world.cluster.mark(mark)
        found = await world.cluster.read(world.ref("marked"))
        assert found is not None
        assert found["metadata"]["annotations"] == {"a": "1", "example.com/cost": value}
        assert found["spec"] == before["spec"]
    await world.cluster.apply(a_deployment(world, "marked", replicas=3))
    found = await world.cluster.read(world.ref("marked"))
    assert found is not None
    assert found["metadata"]["annotations"] == {"example.com/cost": "-2"}


async def test_a_mark_for_what_is_gone_or_another_is_a_conflict(world: World) -> None:
    await world.cluster.apply(a_deployment(world, "heiress"))
    uid = "00000000-1111-4222-8333-444444444444"
    for name in ("heiress", "nobody"):
        with pytest.raises(Conflict):
            await world.cluster.mark(Mark(world.ref(name), uid, "example.com/cost", "-1"))
    assert await world.cluster.read(world.ref("nobody")) is None
    found = await world.cluster.read(world.ref("heiress"))
    assert found is not None
    assert "annotations" not in found["metadata"]


async def test_delete_removes_that_object_and_may_be_said_twice(world: World) -> None:
    await world.cluster.apply(a_deployment(world, "doomed"))
    found = await world.cluster.read(world.ref("doomed"))
    assert found is not None
    await world.cluster.delete(world.ref("doomed"), found["metadata"]["uid"])
    await world.cluster.delete(world.ref("doomed"), found["metadata"]["uid"])
    assert await world.cluster.read(world.ref("doomed")) is None


async def test_delete_leaves_a_namesake_alone(world: World) -> None:
    await world.cluster.apply(a_deployment(world, "reborn"))
    await world.cluster.delete(world.ref("reborn"), "00000000-1111-4222-8333-444444444444")
    assert await world.cluster.read(world.ref("reborn")) is not None


async def test_an_event_is_recorded_and_may_be_said_again(world: World) -> None:
    await world.cluster.apply(a_deployment(world, "noted"))
    found = await world.cluster.read(world.ref("noted"))
    assert found is not None
    for _ in range(3):
        await world.cluster.emit(found, Event("Tried", "It was tried."))
    assert await world.counted(found, "Tried") == 3


async def test_what_can_never_be_is_refused_with_a_sentence(world: World) -> None:
    wrong = a_deployment(world, "wrong")
    wrong["metadata"]["managedFields"] = [{"manager": "x"}]
    with pytest.raises(Refused, match="managedFields"):
        await world.cluster.apply(wrong)


def _condition(name: str, status: str) -> dict[str, str]:
    return {"type": name, "status": status, "reason": "Tested", "message": ""}
