"""A real API server takes what we make for the data of a job, and keeps every field of it.

Holds: core/training/data/prepare_job.py, core/training/data/preparing.py, cluster/live.py
"""

import copy
from typing import Any

from preamar.core.plan import Ref, ref_of
from preamar.core.training.data.preparing import key_of
from preamar.core.training.reconcile import reconcile
from tests.cluster.worlds import World, both_worlds
from tests.core.builders import a_job, watched

world = both_worlds


def made(**data: Any) -> list[dict[str, Any]]:
    source = {"name": "web", "uri": "s3://bucket/text", "secretName": "reader"}
    job = a_job(data={"sources": [source], **data})
    if "prepare" in data:
        job = a_job(data={"sources": [source], **data}, status={"data": {"key": "old"}})
        assert key_of(job) != "old"
    return [copy.deepcopy(dict(m)) for m in reconcile(watched(job)).apply if m["kind"] == "Job"]


def is_kept(sent: Any, found: Any, where: str = "") -> None:
    """All that was sent is there; the server may add defaults."""
    if isinstance(sent, dict):
        for key, value in sent.items():
            if value == "":  # the server leaves out what is empty
                continue
            assert key in found, f"{where}.{key} was dropped"
            is_kept(value, found[key], f"{where}.{key}")
    elif isinstance(sent, list):
        assert len(sent) == len(found), where
        for number, (ours, theirs) in enumerate(zip(sent, found, strict=True)):
            is_kept(ours, theirs, f"{where}[{number}]")
    else:
        assert sent == found, where


async def accepted(world: World, manifest: dict[str, Any]) -> None:
    manifest["metadata"]["namespace"] = world.namespace
    first = await world.cluster.apply(manifest)
    where = ref_of(manifest)
    found = await world.cluster.read(Ref(*where[:2], world.namespace, where.name))
    assert found is not None
    is_kept(manifest["spec"], found["spec"])
    assert await world.cluster.apply(manifest) == first, "the same apply changes nothing"


async def test_the_prepare_job_is_taken_as_it_is(world: World) -> None:
    (manifest,) = made(prepare={"target": "pvc://corpora/gpt", "workers": 3})
    assert manifest["metadata"]["name"] == "t-prepare"
    await accepted(world, manifest)


async def test_an_attempt_with_credentials_and_a_volume_of_its_node_is_taken_as_it_is(
    world: World,
) -> None:
    (manifest,) = made(stage="NodeLocal", stageSize="7Gi")
    await accepted(world, manifest)
