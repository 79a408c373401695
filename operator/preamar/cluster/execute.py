"""How is a plan carried out? In its order, one step after the other; the first failure ends it.

Scale, marks, apply, delete, status, events: the status never says what did not happen, and an event
which is told did happen. What was applied before a failure is still remembered, because it was
applied. Marks come after the size, which fails when it was decided on old news, and before the
children, whose controller reads them when it removes pods.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from preamar.cluster.fenced import Deposed
from preamar.cluster.port import Cluster, ClusterError, Conflict, Refused
from preamar.core.plan import Applied, Manifest, Mark, Plan, Ref, RefusedManifest, digest_of, ref_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PlanResult:
    """What came of a plan.

    ``applied`` and ``refused`` are to be remembered for the next pass, ``deleted`` to be forgotten.
    ``version`` is the resource's own after our last write to it, None if we wrote none. ``error``
    is why the rest was left undone; None for a refusal too, which the next pass tells the user.
    """

    applied: Mapping[Ref, Applied] = field(default_factory=lambda: MappingProxyType({}))
    refused: Mapping[Ref, RefusedManifest] = field(default_factory=lambda: MappingProxyType({}))
    deleted: tuple[Ref, ...] = ()
    version: str | None = None
    writes: int = 0
    error: ClusterError | None = None


async def execute(cluster: Cluster, plan: Plan, regarding: Manifest) -> PlanResult:
    """Carry a plan out. ``regarding`` is the resource, for its events. Raises nothing of the
    cluster's: see ``PlanResult.error``."""
    applied: dict[Ref, Applied] = {}
    refused: dict[Ref, RefusedManifest] = {}
    deleted: list[Ref] = []
    version: str | None = None
    writes = 0
    error: ClusterError | None = None
    try:
        if plan.scale is not None:
            version = await cluster.scale(*_scale(plan))
            writes += 1
        for mark in plan.marks:
            writes += await _mark(cluster, mark)
        for manifest in plan.apply:
            ref, digest = ref_of(manifest), digest_of(manifest)
            try:
                applied[ref] = Applied(digest, await cluster.apply(manifest))
            except Refused as refusal:
                refused[ref] = RefusedManifest(digest, str(refusal))
                break
            writes += 1
        if not refused:
            for gone in plan.delete:
                await cluster.delete(gone.ref, gone.uid)
                deleted.append(gone.ref)
                writes += 1
            if plan.status is not None:
                version = await cluster.patch_status(plan.status)
                writes += 1
            await _tell(cluster, plan, regarding)
    except ClusterError as problem:
        error = problem
    return PlanResult(applied, refused, tuple(deleted), version, writes, error)


def _scale(plan: Plan) -> tuple[Ref, int, str]:
    assert plan.scale is not None
    return plan.scale.ref, plan.scale.replicas, plan.scale.version


async def _mark(cluster: Cluster, mark: Mark) -> int:
    """Marks choose which pod goes; that one goes does not wait for them. Returns writes."""
    try:
        await cluster.mark(mark)
    except Conflict:
        return 0  # the pod is gone already
    except Refused as refusal:
        log.warning("%s %s cannot be marked: %s", mark.ref.kind, mark.ref.name, refusal)
        return 0
    return 1


async def _tell(cluster: Cluster, plan: Plan, regarding: Manifest) -> None:
    """Events are courtesy: a pass that did its work has not failed for want of one."""
    for event in plan.events:
        try:
            await cluster.emit(regarding, event)
        except Deposed:
            raise
        except ClusterError as error:
            log.warning("event %s about %s: %s", event.reason, ref_of(regarding), error)
