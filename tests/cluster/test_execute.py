"""How a plan is carried out: in order, and no further than the first failure.

Holds: cluster/execute.py, cluster/fenced.py, cluster/memory.py
"""

from typing import Any

import pytest

from preamar.cluster.execute import execute
from preamar.cluster.fenced import Deposed, FencedCluster
from preamar.cluster.memory import MemoryCluster
from preamar.cluster.port import ClusterError, Conflict, Refused
from preamar.core.plan import Delete, Event, Mark, Plan, Ref, Scale, digest_of, ref_of


def an_object(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "n"},
        **more,
    }


class Recording(MemoryCluster):
    """Remembers the order of verbs, and fails where it is told to."""

    def __init__(self, fails: dict[str, Exception] | None = None) -> None:
        super().__init__(before=self._see)
        self.verbs: list[str] = []
        self._fails = fails or {}

    def _see(self, verb: str, ref: Ref) -> None:
        self.verbs.append(f"{verb} {ref.name}")
        if (error := self._fails.get(f"{verb} {ref.name}")) is not None:
            raise error


def a_full_plan(cluster: MemoryCluster) -> tuple[Plan, dict[str, Any]]:
    owner = cluster.create(an_object("InferenceService", "x", spec={"replicas": 1}))
    old = cluster.create(an_object("Deployment", "old"))
    pod = cluster.create(an_object("Pod", "p"))
    plan = Plan(
        scale=Scale(ref_of(owner), 3, owner["metadata"]["resourceVersion"]),
        marks=(Mark(ref_of(pod), pod["metadata"]["uid"], "cost", "-1"),),
        apply=(an_object("Service", "a"), an_object("Deployment", "b", spec={"replicas": 3})),
        delete=(Delete(ref_of(old), old["metadata"]["uid"]),),
        status=an_object("InferenceService", "x", status={"replicas": 3}),
        events=(Event("Scaled", "It was scaled."),),
    )
    return plan, owner


async def test_steps_are_carried_out_in_their_order() -> None:
    cluster = Recording()
    plan, owner = a_full_plan(cluster)
    outcome = await execute(cluster, plan, owner)
    assert cluster.verbs == [
        "scale x", "mark p", "apply a", "apply b", "delete old", "status x", "emit x",
    ]  # fmt: skip
    assert outcome.error is None
    assert outcome.writes == 6
    assert {ref.name: memory.digest for ref, memory in outcome.applied.items()} == {
        manifest["metadata"]["name"]: digest_of(manifest) for manifest in plan.apply
    }
    assert outcome.version == cluster.objects[ref_of(owner)]["metadata"]["resourceVersion"]


@pytest.mark.parametrize(
    "failing", ["scale x", "mark p", "apply a", "apply b", "delete old", "status x"], ids=str
)
async def test_the_first_failure_ends_it_and_what_was_applied_is_remembered(failing: str) -> None:
    cluster = Recording({failing: ClusterError("no")})
    plan, owner = a_full_plan(cluster)
    outcome = await execute(cluster, plan, owner)
    assert cluster.verbs[-1] == failing
    assert str(outcome.error) == "no"
    done = [verb.split()[1] for verb in cluster.verbs[:-1] if verb.startswith("apply")]
    assert [ref.name for ref in outcome.applied] == done


async def test_a_refusal_is_a_value_for_the_next_pass_and_nothing_else_is_done() -> None:
    cluster = Recording({"apply b": Refused("spec.replicas: too many")})
    plan, owner = a_full_plan(cluster)
    outcome = await execute(cluster, plan, owner)
    assert cluster.verbs[-1] == "apply b"
    assert outcome.error is None
    (refusal,) = outcome.refused.values()
    assert refusal.sentence == "spec.replicas: too many"
    assert refusal.digest == digest_of(plan.apply[1])


async def test_an_event_that_cannot_be_recorded_fails_nothing() -> None:
    cluster = Recording({"emit x": ClusterError("no")})
    plan, owner = a_full_plan(cluster)
    assert (await execute(cluster, plan, owner)).error is None


@pytest.mark.parametrize("no", [Conflict("gone"), Refused("a policy forbids it")], ids=repr)
async def test_a_pod_that_cannot_be_marked_holds_up_nothing(no: Exception) -> None:
    cluster = Recording({"mark p": no})
    plan, owner = a_full_plan(cluster)
    outcome = await execute(cluster, plan, owner)
    assert outcome.error is None
    assert outcome.writes == 5
    assert cluster.verbs[-1] == "emit x"


async def test_a_conflict_is_an_error_to_try_again() -> None:
    cluster = Recording()
    plan, owner = a_full_plan(cluster)
    cluster.edit(ref_of(owner), lambda body: body["spec"].update(replicas=2))
    outcome = await execute(cluster, plan, owner)
    assert isinstance(outcome.error, Conflict)
    assert cluster.verbs == ["scale x"]


async def test_without_the_lease_nothing_is_written_but_reading_goes_on() -> None:
    cluster = Recording()
    plan, owner = a_full_plan(cluster)
    fenced = FencedCluster(cluster, lambda: 0.0)
    outcome = await execute(fenced, plan, owner)
    assert isinstance(outcome.error, Deposed)
    assert cluster.verbs == []
    assert await fenced.read(ref_of(owner)) is not None


async def test_the_lease_is_asked_before_every_single_write() -> None:
    cluster = Recording()
    left = iter([5.0, 5.0, 5.0, 0.0])
    plan, owner = a_full_plan(cluster)
    outcome = await execute(FencedCluster(cluster, lambda: next(left)), plan, owner)
    assert isinstance(outcome.error, Deposed)
    assert cluster.verbs == ["scale x", "mark p", "apply a"]


async def test_a_write_does_not_outlast_the_lease() -> None:
    import asyncio

    class Slow(MemoryCluster):
        async def apply(self, manifest: Any) -> str:
            await asyncio.sleep(60)
            return await super().apply(manifest)

    slow = Slow()
    with pytest.raises(Deposed):
        await FencedCluster(slow, lambda: 0.02).apply(an_object("Service", "a"))
    assert not slow.objects
