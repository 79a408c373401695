"""Bugs planted on purpose, in a forked operator only, to see whether the sweep has teeth."""

import dataclasses
import os
from typing import Any


def plant(name: str) -> None:
    """Plant one of ``BUGS`` in this process."""
    BUGS[name]()


def _children_are_named_anew_by_each_process() -> None:
    """What drawing names does: a second process makes a second child."""
    from preamar.shell import passes

    execute = passes.execute

    async def wrong(cluster: Any, plan: Any, regarding: Any) -> Any:
        def renamed(manifest: Any) -> Any:
            if manifest["kind"] not in {"Deployment", "Job"}:
                return manifest
            metadata = manifest["metadata"]
            return {
                **manifest,
                "metadata": {**metadata, "name": f"{metadata['name']}-{os.getpid()}"},
            }

        plan = dataclasses.replace(plan, apply=tuple(renamed(m) for m in plan.apply))
        return await execute(cluster, plan, regarding)

    passes.execute = wrong


def _delete_has_no_precondition() -> None:
    """A namesake made in the meantime would be deleted."""
    from preamar.cluster import live
    from preamar.cluster.kinds import location

    async def wrong(self: Any, ref: Any, uid: str) -> None:
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        await self._call("delete", "DELETE", location(ref), None, body)

    live.LiveCluster.delete = wrong  # type: ignore[method-assign]


def _children_have_no_owner() -> None:
    """Nobody would remove them with their resource."""
    from preamar.shell import passes

    execute = passes.execute

    async def wrong(cluster: Any, plan: Any, regarding: Any) -> Any:
        def orphaned(manifest: Any) -> Any:
            metadata = {k: v for k, v in manifest["metadata"].items() if k != "ownerReferences"}
            return {**manifest, "metadata": metadata}

        plan = dataclasses.replace(plan, apply=tuple(orphaned(m) for m in plan.apply))
        return await execute(cluster, plan, regarding)

    passes.execute = wrong


def _children_are_made_when_the_resource_is_new() -> None:
    """What handlers of creation do: status first, then children; who died between the two comes
    back to a resource that is not new, and believes that all is done."""
    from preamar.shell import passes

    execute = passes.execute
    mine: set[str] = set()

    async def wrong(cluster: Any, plan: Any, regarding: Any) -> Any:
        uid = regarding["metadata"]["uid"]
        if not (regarding.get("status") or {}).get("conditions"):
            mine.add(uid)
        if uid not in mine:
            plan = dataclasses.replace(plan, apply=())
        first = dataclasses.replace(plan, apply=(), scale=None, delete=(), events=())
        outcome = await execute(cluster, first, regarding)
        if outcome.error is not None:
            return outcome
        rest = await execute(cluster, dataclasses.replace(plan, status=None), regarding)
        return dataclasses.replace(rest, version=outcome.version or rest.version)

    passes.execute = wrong


BUGS = {
    "names-drawn": _children_are_named_anew_by_each_process,
    "delete-unconditional": _delete_has_no_precondition,
    "no-owner": _children_have_no_owner,
    "edge-triggered": _children_are_made_when_the_resource_is_new,
}
