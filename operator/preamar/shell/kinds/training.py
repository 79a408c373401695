"""How is a training job watched, gathered and decided?

Watched: the resources and their attempts' Jobs (pods and Services are shared with serving). While
an attempt runs, rank 0's agent is asked for its progress; once the attempt's Job shows an order to
stop, the agent is told, and asked for the end of its ranks.
"""

from dataclasses import replace
from datetime import UTC, datetime

import kopf

from preamar.api import GROUP, VERSION
from preamar.api.training import TrainingJob
from preamar.api.training_status import TrainingJobStatus
from preamar.core.plan import Manifest, Plan
from preamar.core.settings import Settings
from preamar.core.training.attempts.goodput import ratio
from preamar.core.training.observe import JobView, Observed, apart, children_named, claims_named
from preamar.core.training.reconcile import reconcile
from preamar.demand.receiver import InternalKey
from preamar.shell.figures.metrics import Metrics
from preamar.shell.kinds.claims import Claims
from preamar.shell.passes import Gathered, KindHandler
from preamar.shell.polling.exit_poller import ExitPoller, awaited
from preamar.shell.polling.progress import Poller, ordered, preparing_first, rank_zero
from preamar.shell.watching.keys import JOB_KIND, Key
from preamar.shell.watching.mirror import Add, Mirror, Watched, children_of_kind

API_VERSION = f"{GROUP}/{VERSION}"
TRAINING = Watched(API_VERSION, JOB_KIND, "trainingjobs")
JOBS = children_of_kind("batch/v1", "Job", "jobs")


def register(
    registry: kopf.OperatorRegistry,
    mirror: Mirror,
    add: Add,
    *,
    claims: Claims,
    poller: Poller,
    ends: ExitPoller,
    settings: Settings,
    metrics: Metrics,
    key: InternalKey,
) -> KindHandler:
    """Let watches fill the queue; the returned kind says how to work on what is in it."""

    def changed(key: Key, _body: Manifest, _there: bool) -> None:
        add(key)

    mirror.watch_resources(registry, TRAINING, changed)
    mirror.watch_children(registry, JOBS, JobView.of, add)

    async def plan(found: Gathered) -> Plan:
        job = TrainingJob.model_validate(found.body)
        jobs, conversions, scouts, preparing = apart(
            seen.view
            for seen in found.seen.values()
            if isinstance(seen.view, JobView) and seen.child.owner == job.metadata.uid
        )
        secret = key.read()
        agent = rank_zero(jobs, found.pods) or preparing_first(preparing, found.pods)
        poller.ask(found.key, agent, ordered(jobs, job.metadata.uid, secret))
        waited = awaited(jobs, conversions, found.pods)
        ends.wait(found.key, waited, (pod.name for pod in found.pods))
        shown = poller.shown(found.key)
        return reconcile(
            Observed(
                job=job,
                now=datetime.now(UTC),
                settings=replace(settings, internal_key=secret),
                children=await found.children(children_named(job, jobs)),
                jobs=jobs,
                conversions=conversions,
                scouts=scouts,
                preparing=preparing,
                pods=found.pods,
                claims=await claims.named(found.key.namespace, claims_named(job)),
                progress=shown if shown is not None and shown.attempt else None,
                prepare_state=shown.state if shown is not None and not shown.attempt else "",
                stop=poller.heard(found.key),
                ended=ends.told(found.key),
                applied=found.applied,
                refused=found.refused,
            )
        )

    def done(key: Key, body: Manifest, plan: Plan) -> None:
        """Nothing is kept of a job between passes but what is measured."""
        status = TrainingJobStatus.model_validate((plan.status or body).get("status") or {})
        share = ratio(status.goodput) if status.goodput else None
        metrics.trained(f"{key.namespace}/{key.name}", share)

    def gone(key: Key) -> None:
        poller.leave(key)
        ends.leave(key)
        metrics.trained(f"{key.namespace}/{key.name}", None)

    return KindHandler(API_VERSION, plan, done, gone)
