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
        await self._call("delete", "DELETE", location(ref), None, {"kind": "DeleteOptions"})

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


def _what_was_applied_is_never_looked_for_again() -> None:
    """The first process writes the first child only; later ones believe that all is done."""
    from preamar.shell import passes

    execute = passes.execute

    async def wrong(cluster: Any, plan: Any, regarding: Any) -> Any:
        if plan.status is None and len(plan.apply) < 2:
            return await execute(cluster, plan, regarding)
        status = await execute(cluster, dataclasses.replace(plan, apply=(), scale=None), regarding)
        if (regarding.get("status") or {}).get("conditions"):
            return status
        return await execute(cluster, dataclasses.replace(plan, status=None, events=()), regarding)

    passes.execute = wrong


BUGS = {
    "names-drawn": _children_are_named_anew_by_each_process,
    "delete-unconditional": _delete_has_no_precondition,
    "no-owner": _children_have_no_owner,
    "status-ahead": _what_was_applied_is_never_looked_for_again,
}
