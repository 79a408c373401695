"""How is an inference service watched, gathered and decided?

Watched: the resources, their Deployments, StatefulSets and PodDisruptionBudgets (pods and Services are shared
with training). A service is looked at again when anything of it changes, when demand for it
changes, by its gateways or its model servers, and when a rival for its model name comes or goes.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import kopf

from preamar.api import GROUP, VERSION
from preamar.api.inference import InferenceService
from preamar.core.objects import ClaimView
from preamar.core.plan import Manifest, Plan
from preamar.core.pods import PodView
from preamar.core.serving.health.fit_kept import as_made
from preamar.core.serving.health.learned import seeded
from preamar.core.serving.model.images import read
from preamar.core.serving.model.source import cache_claim
from preamar.core.serving.observe import (
    DeploymentView,
    Observed,
    canary_ref,
    children_named,
    claims_named,
)
from preamar.core.serving.pods.group import grouped, workers_ref
from preamar.core.serving.reconcile import reconcile
from preamar.core.serving.sizing.size import aim_of, cold_start_of
from preamar.core.settings import Settings
from preamar.demand.accounts import AccountAggregator
from preamar.demand.engine_scraper import EngineScraper, witnessed
from preamar.protocol.demand import Demand
from preamar.protocol.labels import ROLE_LABEL, SERVICE_LABEL
from preamar.protocol.ownership import Claimant, name_claimed
from preamar.shell.figures.metrics import Metrics
from preamar.shell.kinds.claims import Claims
from preamar.shell.kinds.habits import Habits
from preamar.shell.passes import Gathered, KindHandler
from preamar.shell.watching.keys import SERVICE_KIND, Key
from preamar.shell.watching.mirror import Add, Mirror, Watched, children_of_kind

API_VERSION = f"{GROUP}/{VERSION}"
SERVICES = Watched(API_VERSION, SERVICE_KIND, "inferenceservices")
DEPLOYMENTS = children_of_kind("apps/v1", "Deployment", "deployments")
STATEFUL_SETS = children_of_kind("apps/v1", "StatefulSet", "statefulsets")
BUDGETS = children_of_kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
DemandOf = Callable[[str], Demand]


@dataclass(slots=True)
class Claimed:
    """Who claims which model name, by the UID of the claimant."""

    by_name: dict[str, dict[str, tuple[Key, Claimant]]]

    def note(self, key: Key, body: Manifest, there: bool) -> set[Key]:
        """Take note of a service; returns its rivals if its claim is news."""
        uid = body["metadata"]["uid"]
        name = name_claimed(body)
        claims = self.by_name.setdefault(name, {})
        there = there and not body["metadata"].get("deletionTimestamp")
        news = there != (uid in claims)
        if there:
            claims[uid] = (key, Claimant.of(body["metadata"]))
        else:
            claims.pop(uid, None)
        rivals = {other for other, _ in claims.values() if other != key}
        if not claims:
            del self.by_name[name]
        return rivals if news else set()

    def rivals(self, service: InferenceService) -> tuple[Claimant, ...]:
        """The others that claim the same name."""
        claims = self.by_name.get(service.model_name, {})
        own = service.metadata.uid
        return tuple(sorted(rival for uid, (_, rival) in claims.items() if uid != own))


def register(
    registry: kopf.OperatorRegistry,
    mirror: Mirror,
    add: Add,
    *,
    claims: Claims,
    demand_of: DemandOf,
    accounts: AccountAggregator,
    scraper: EngineScraper,
    habits: Habits,
    settings: Settings,
    metrics: Metrics,
) -> KindHandler:
    """Let watches fill the queue; the returned kind says how to work on what is in it."""
    claimed = Claimed({})

    def changed(key: Key, body: Manifest, there: bool) -> None:
        add(key)
        for rival in claimed.note(key, body, there):
            add(rival)

    mirror.watch_resources(registry, SERVICES, changed)
    mirror.watch_children(registry, DEPLOYMENTS, DeploymentView.of, add)
    mirror.watch_children(registry, STATEFUL_SETS, _nothing_more, add)
    mirror.watch_children(registry, BUDGETS, _nothing_more, add)

    def demand(name: str, service: InferenceService, pods: Iterable[PodView]) -> Demand:
        """What gateways say, raised by what model servers say, and what was known before."""
        told = demand_of(name)
        scraper.follow(name, (pod.ip for pod in pods if pod.ready and pod.ip and not pod.deleting))
        seen = scraper.seen(name)
        metrics.scaling.demanded(name, told, seen)
        return seeded(service, witnessed(told, seen))

    async def plan(found: Gathered) -> Plan:
        service = read(found.body, settings)
        names = children_named(service)
        # Of a strategy that was changed since: nobody would look for it.
        trial = canary_ref(service)
        named = (*names, trial) if trial in found.seen and trial not in names else names
        # Those of wishes that were changed since.
        named += tuple(r for r in found.seen if r.kind == "Job" and r not in names)
        cache = cache_claim(service, settings)
        mounted = (*claims_named(service), *([cache] if cache else []))
        volumes: dict[str, ClaimView] = await claims.named(found.key.namespace, mounted)
        deployment = found.seen.get(names[0])
        name = _name(found.key)
        mine = tuple(p for p in found.pods if SERVICE_LABEL in p.labels)
        if grouped(service):
            named += tuple(workers_ref(service, pod.uid) for pod in mine)
        replicas = tuple(p for p in mine if ROLE_LABEL not in p.labels)
        wanted = demand(name, service, replicas)
        known = (found.body.get("status") or {}).get("learned") or {}
        metrics.scaling.learned(name, wanted, known)
        return reconcile(
            Observed(
                service=service,
                now=datetime.now(UTC),
                settings=settings,
                children=await found.children(named),
                deployment=deployment.view if deployment else None,
                pods=replicas,
                canaries=tuple(p for p in mine if ROLE_LABEL in p.labels),
                workers=tuple(p for p in found.pods if SERVICE_LABEL not in p.labels),
                claims=volumes,
                demand=wanted,
                habit=habits.of(
                    name,
                    aim_of(as_made(service)),
                    wanted,
                    cold_start_of(service),
                    service.spec.scaling.max,
                ),
                rivals=claimed.rivals(service),
                drift=accounts.drift(name),
                applied=found.applied,
                refused=found.refused,
            )
        )

    def done(key: Key, body: Manifest, plan: Plan) -> None:
        status: Any = (plan.status or body).get("status") or {}
        decision = status.get("decision")
        if decision:
            metrics.decided(_name(key), decision["reason"], decision["replicas"])
            if plan.scale is not None:
                metrics.resized(decision["reason"])

    def gone(key: Key) -> None:
        metrics.forget_service(_name(key))
        scraper.leave(_name(key))
        habits.forget(_name(key))
        accounts.forget_service(_name(key))

    return KindHandler(API_VERSION, plan, done, gone)


def _name(key: Key) -> str:
    """As gateways name a service."""
    return f"{key.namespace}/{key.name}"


def _nothing_more(_body: Manifest) -> None:
    """The child itself is all there is to know."""
