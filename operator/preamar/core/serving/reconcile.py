"""What does an inference service need next?

A function of its arguments: no clock, no cluster, no gateway. The shell gathers an ``Observed``,
calls ``reconcile``, and carries the ``Plan`` out. A plan carried out in full leaves nothing to
plan; tests/life holds us to that.
"""

from preamar.core.conditions import transitions
from preamar.core.metadata import status_of
from preamar.core.needs_apply import due
from preamar.core.plan import Delete, Event, Manifest, Mark, Plan, ref_of
from preamar.core.serving.artifact.artifacts import abandoned, fetcher, optimizer, tried
from preamar.core.serving.artifact.rollout import LOOK_AGAIN, Phase
from preamar.core.serving.facts import Facts, facts_of
from preamar.core.serving.groups.members import made
from preamar.core.serving.health.fit_kept import steps
from preamar.core.serving.observe import KIND, Observed
from preamar.core.serving.pods.desired import Template, desired
from preamar.core.serving.pods.scale_down_order import marks
from preamar.core.serving.status import status
from preamar.core.serving.step import Served, Step, next_step
from preamar.core.serving.verdicts import BAD, TOLD
from preamar.core.serving.waking import resized, scale_of
from preamar.core.status_news import says

NOT_WATCHED = 60.0
"""How long a volume may be gone before we notice: claims are read and not watched."""


def reconcile(observed: Observed) -> Plan:
    """The next steps for one service."""
    if observed.service.metadata.deletion_timestamp:
        return Plan()  # Kubernetes removes the children
    asked = facts_of(observed)
    step = next_step(asked)
    if step.block is not None:
        return _wait_for_a_person(step, step.block.recheck_in)
    if step.served is None:
        return _prepare(step)
    return _serve(asked, step, step.served)


def _serve(asked: Facts, step: Step, served: Served) -> Plan:
    """Replicas of the size that was decided, beside what is made for the revision ``asked`` for."""
    facts, observed, replicas = step.facts, step.facts.observed, served.existing.replicas
    template = Template(
        facts.service,
        observed.settings,
        facts.claim,
        served.fit.batch,
        facts.revision,
        facts.made_of,
    )
    children = desired(template, replicas)
    trials, ends = tried(asked, step.rollout, replicas)
    # What is made for later comes first: it need not wait for the others' refusals.
    wanted = (*optimizer(asked, step.work), *fetcher(facts), *children, *trials)
    uid = facts.service.metadata.uid
    apply = due(wanted, uid, observed.children, observed.applied, observed.refused)
    apply += made(facts, observed.pods) + made(asked, observed.canaries)
    scale = scale_of(facts.service, served.size)
    sized = resized(observed, scale, served.size)
    news, events = _status(step)
    return Plan(
        scale=scale,
        marks=_victims(facts, replicas, apply),
        apply=apply,
        delete=ends + abandoned(asked, step.work),
        status=news,
        events=(*events, *steps(facts, served.fit), *sized),
        recheck_in=_soonest(step, served),
    )


def _prepare(step: Step) -> Plan:
    """No replica yet: the model is being made."""
    facts, observed = step.facts, step.facts.observed
    jobs, uid = optimizer(facts, step.work), facts.service.metadata.uid
    news, events = _status(step)
    return Plan(
        apply=due(jobs, uid, observed.children, observed.applied, observed.refused),
        delete=abandoned(facts, step.work),
        status=news,
        events=events,
        recheck_in=NOT_WATCHED,
    )


def _wait_for_a_person(step: Step, recheck_in: float | None) -> Plan:
    """What runs is left as it is, but a user who wants zero replicas gets his accelerators back."""
    facts, observed = step.facts, step.facts.observed
    ref = facts.children[0]
    child = observed.children.get(ref)
    idle = (
        facts.service.spec.replicas == 0
        and observed.deployment is not None
        and child is not None
        and child.owner == facts.service.metadata.uid
        and not child.deleting
    )
    news, events = _status(step)
    return Plan(
        delete=(Delete(ref, child.uid),) if idle and child else (),
        status=news,
        events=events,
        recheck_in=recheck_in,
    )


def _victims(facts: Facts, replicas: int, apply: tuple[Manifest, ...]) -> tuple[Mark, ...]:
    """Marks for the pods that should go, if this plan makes the Deployment smaller: whoever chose
    the size, the law or an autoscaler."""
    ref, deployment = facts.children[0], facts.observed.deployment
    if deployment is not None and deployment.wanted <= replicas:
        return ()
    if ref not in [ref_of(manifest) for manifest in apply]:
        return ()
    return marks(ref.namespace, facts.here, facts.observed.demand.pods, replicas)


def _status(step: Step) -> tuple[Manifest | None, tuple[Event, ...]]:
    """The status if it is news, and the events that go with it."""
    service = step.facts.service
    wanted, told = status(step)
    if says(service.status, wanted):
        return None, ()
    events = transitions(service.status.conditions, told, TOLD, BAD)
    return status_of(KIND, service.metadata, wanted), events


def _soonest(step: Step, served: Served) -> float:
    """When time alone may change the answer."""
    finding, trying = (
        served.finding,
        step.rollout is not None and step.rollout.phase == Phase.TRYING,
    )
    times = (
        NOT_WATCHED,
        step.facts.steadies_in,
        finding.in_grace if finding is not None else None,
        served.size.recheck_in,
        LOOK_AGAIN if trying else None,
        served.gang.recheck_in,
    )
    # Never at once: a moment that is due by rounding would spin.
    return max(0.1, min(time for time in times if time is not None))
