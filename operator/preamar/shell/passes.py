"""What is one pass? Gather what is true, decide, carry the plan out, remember.

The same for both kinds; a ``KindHandler`` says how to gather and how to decide. A view that does not show
our own last write is not decided upon: the watch gets five seconds, then the API server is asked.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from preamar.cluster.execute import execute
from preamar.cluster.port import Cluster
from preamar.core.objects import Child
from preamar.core.plan import Applied, Manifest, Plan, Ref, RefusedManifest, digest_of, ref_of
from preamar.shell.unreadable import unreadable
from preamar.shell.watching.apply_cache import ApplyCache
from preamar.shell.watching.expectations import Expectations
from preamar.shell.watching.keys import Key
from preamar.shell.watching.mirror import Mirror, MirroredObject, version_of
from preamar.shell.workqueue import PassResult

log = logging.getLogger(__name__)
LOOK_AGAIN_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Gathered:
    """What the shell knows of a resource before a pass, for a kind to make its ``Observed`` of."""

    key: Key
    body: Manifest
    seen: Mapping[Ref, MirroredObject]
    pods: tuple[Any, ...]
    applied: Mapping[Ref, Applied]
    refused: Mapping[Ref, RefusedManifest]
    children: Callable[[Iterable[Ref]], Awaitable[dict[Ref, Child]]]


@dataclass(frozen=True, slots=True)
class KindHandler:
    """How one kind is gathered and decided. ``plan`` raises ``ValidationError`` where the resource
    says what this version cannot read. ``done`` and ``gone`` are told afterwards. ``read`` is False
    for a kind that the operator may only watch: where the watch is late, it is waited for."""

    api_version: str
    plan: Callable[[Gathered], Awaitable[Plan]]
    done: Callable[[Key, Manifest, Plan], None]
    gone: Callable[[Key], None]
    read: bool = True


class Passes:
    """Carries passes out; the work queue's ``work``."""

    def __init__(
        self,
        cluster: Cluster,
        mirror: Mirror,
        kinds: Mapping[str, KindHandler],
        ahead: Expectations,
    ) -> None:
        self._cluster = cluster
        self._mirror = mirror
        self._kinds = kinds
        self._memory: dict[Key, ApplyCache] = {}
        self._ahead = ahead

    async def __call__(self, key: Key) -> PassResult:
        """One pass. Raises ``ClusterError``; the queue backs off."""
        kind = self._kinds[key.kind]
        shown = self._mirror.resource(key)
        if shown is None:
            self._memory.pop(key, None)
            self._ahead.forget(key)
            kind.gone(key)
            return PassResult(forget=True)
        body: Manifest = self._ahead.caught_up(key, shown)
        metadata = body["metadata"]
        if metadata.get("deletionTimestamp"):
            # Kubernetes removes what the resource owns; anything we did now would be in its way.
            return PassResult()
        memory = self._memory.get(key)
        if memory is None or memory.uid != metadata["uid"]:
            memory = self._memory[key] = ApplyCache(metadata["uid"])
        seen = self._mirror.children(key)
        late = memory.behind(version_of(metadata), seen)
        if memory.patient(late) or (None in late and not kind.read):
            return PassResult(recheck_in=LOOK_AGAIN_SECONDS)
        if None in late:
            ref = Ref(kind.api_version, key.kind, key.namespace, key.name)
            fresh = await self._cluster.read(ref)
            if fresh is None or fresh["metadata"]["uid"] != metadata["uid"]:
                return PassResult(recheck_in=LOOK_AGAIN_SECONDS)
            body = dict(fresh)
        gathered = Gathered(
            key=key,
            body=body,
            seen={ref: child for ref, child in seen.items() if ref not in late},
            pods=self._mirror.pods(key),
            applied=memory.applied,
            refused=memory.refusals(),
            children=lambda refs: self._children(refs, seen, late, memory),
        )
        try:
            plan = _without_refused(await kind.plan(gathered), gathered.refused)
        except ValidationError as error:
            log.warning("%s cannot be read: %s", key, error)
            plan = unreadable(body, error)
        plan = replace(plan, events=(*self._ahead.unsaid(key), *plan.events))
        outcome = await execute(self._cluster, plan, body)
        memory.note(outcome)
        if outcome.error is not None:
            raise outcome.error
        self._ahead.said(key, shown)
        kind.done(key, body, plan)
        return PassResult(recheck_in=0.0 if outcome.refused else plan.recheck_in)

    async def _children(
        self,
        refs: Iterable[Ref],
        seen: Mapping[Ref, MirroredObject],
        late: frozenset[Ref | None],
        memory: ApplyCache,
    ) -> dict[Ref, Child]:
        """What stands under these names, other people's objects too, which no watch shows us."""
        wanted = tuple(refs)
        found = {ref: seen[ref].child for ref in wanted if ref in seen and ref not in late}
        unsure = [ref for ref in wanted if ref not in found and not memory.believed_absent(ref)]
        bodies = await asyncio.gather(*(self._cluster.read(ref) for ref in unsure))
        for ref, body in zip(unsure, bodies, strict=True):
            if body is None:
                memory.absent[ref] = time.monotonic()
                # It was there when we applied it, and it is gone.
                memory.forget(ref)
            else:
                found[ref] = Child.of(body)
        return found


def _without_refused(plan: Plan, refused: Mapping[Ref, RefusedManifest]) -> Plan:
    """A manifest that was refused as it is would be refused again."""
    kept = tuple(
        manifest
        for manifest in plan.apply
        if (was := refused.get(ref_of(manifest))) is None or was.digest != digest_of(manifest)
    )
    return plan if len(kept) == len(plan.apply) else replace(plan, apply=kept)
