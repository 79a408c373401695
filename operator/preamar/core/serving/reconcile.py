"""What does an inference service need next?

A function of its arguments: no clock, no cluster, no gateway. The shell gathers an ``Observed``,
calls ``reconcile``, and carries the ``Plan`` out. A plan carried out in full leaves nothing to
plan; tests/life holds us to that.
"""

from preamar.api.inference_status import InferenceServiceStatus
from preamar.core.conditions import transitions
from preamar.core.metadata import status_of
from preamar.core.needs_apply import due, refusal_of
from preamar.core.placement import on_gpu
from preamar.core.plan import Delete, Event, Manifest, Mark, Plan, ref_of
from preamar.core.serving.artifact.artifacts import (
    abandoned,
    claim_of,
    fetcher,
    optimizer,
    served_of,
    tried,
)
from preamar.core.serving.artifact.optimize_words import Optimized, Stand
from preamar.core.serving.artifact.optimized import optimized
from preamar.core.serving.artifact.rollout import (
    LOOK_AGAIN,
    Phase,
    Rollout,
    known_rollout,
    rollout_of,
)
from preamar.core.serving.blocks import Blocked, blocked
from preamar.core.serving.groups.gang import INCOMPLETE, Gang, gang_of
from preamar.core.serving.groups.members import current_workers, made
from preamar.core.serving.health.current import current_pods, loaded_once
from preamar.core.serving.health.faults import Finding, Made, find, steadies_in
from preamar.core.serving.health.fit import fit_of, made_with
from preamar.core.serving.health.fit_kept import Fit, steps
from preamar.core.serving.observe import KIND, Observed, children_named
from preamar.core.serving.pods.desired import desired, with_batch
from preamar.core.serving.pods.scale_down_order import marks
from preamar.core.serving.sizing.scaling import Decision
from preamar.core.serving.sizing.size import size_of
from preamar.core.serving.status import status
from preamar.core.serving.verdicts import BAD, TOLD, Reason
from preamar.core.serving.waking import resized, scale_of
from preamar.core.trouble import Trouble

NOT_WATCHED = 60.0
"""How long a volume may be gone before we notice: claims are read and not watched."""


def reconcile(observed: Observed) -> Plan:
    """The next steps for one service."""
    service = observed.service
    if service.metadata.deletion_timestamp:
        return Plan()  # Kubernetes removes the children
    block = blocked(observed)
    if block is not None:
        return _wait_for_a_person(observed, block)
    work = optimized(observed)
    rollout = rollout_of(observed, work)
    served = served_of(observed, work, rollout)
    if served is None:
        return _prepare(observed, work)
    jobs = optimizer(observed, work)
    asked, observed, service = observed, served, served.service
    loaded = loaded_once(observed)
    fit = fit_of(observed)
    pods = (*made_with(observed, fit), *current_workers(observed, fit.batch))
    finding = find(pods, observed.now, Made(on_gpu(service.spec.accelerator), fit.batch))
    decision = size_of(
        with_batch(service, fit.batch),
        demand=observed.demand,
        pods=observed.pods,
        loaded=loaded,
        failing=fit.given_up is not None or (finding is not None and finding.in_grace is None),
        habit=observed.habit,
        now=observed.now,
    )
    claim = claim_of(observed)
    # The size that is wanted stays the user's word; what was given up has no pods all the same.
    gang = gang_of(observed, decision.replicas)
    replicas = 0 if fit.given_up else gang.at_most(decision.replicas)
    wanted = desired(service, observed.settings, replicas, claim, fit.batch)
    trouble = _trouble(observed, finding, work, fit, rollout, gang)
    told = _status(observed, decision, trouble, loaded, work, fit, rollout, gang)
    scale = scale_of(service, decision)
    ahead = fetcher(observed, claim, loaded)
    trials, ends = tried(asked, rollout, replicas)
    wanted = (
        *jobs,
        *ahead,
        *wanted,
        *trials,
    )  # first, so that it need not wait for the others' refusals
    apply = due(wanted, service.metadata.uid, observed.children, observed.applied, observed.refused)
    apply += made(observed, observed.pods) + made(asked, asked.canaries)
    return Plan(
        scale=scale,
        marks=_victims(observed, replicas, apply),
        apply=apply,
        delete=ends + abandoned(asked, work),
        status=told[0],
        events=(*told[1], *steps(observed, fit), *resized(observed, scale, decision)),
        recheck_in=_soonest(observed, decision, finding, rollout, gang),
    )


def _prepare(observed: Observed, work: Optimized) -> Plan:
    """No replica yet: the model is being made."""
    service, trouble = observed.service, _trouble(observed, None, work, None, None)
    wanted, events = _status(observed, None, trouble, False, work, None, None)
    job = optimizer(observed, work)
    apply = due(job, service.metadata.uid, observed.children, observed.applied, observed.refused)
    return Plan(
        apply=apply,
        delete=abandoned(observed, work),
        status=wanted,
        events=events,
        recheck_in=NOT_WATCHED,
    )


def _wait_for_a_person(observed: Observed, block: Blocked) -> Plan:
    """What runs is left as it is, but a user who wants zero replicas gets his accelerators back."""
    trouble = Trouble(block.reason, block.message)
    work = optimized(observed)
    loaded, rollout = loaded_once(observed), known_rollout(observed)
    wanted, events = _status(observed, None, trouble, loaded, work, None, rollout)
    deployment, service = observed.deployment, observed.service
    ref = children_named(service)[0]
    child = observed.children.get(ref)
    idle = (
        service.spec.replicas == 0
        and deployment is not None
        and child is not None
        and child.owner == service.metadata.uid
        and not child.deleting
    )
    return Plan(
        delete=(Delete(ref, child.uid),) if idle and child else (),
        status=wanted,
        events=events,
        recheck_in=block.recheck_in,
    )


def _trouble(
    observed: Observed,
    finding: Finding | None,
    work: Optimized,
    fit: Fit | None,
    rollout: Rollout | None,
    gang: Gang | None = None,
) -> Trouble | None:
    refusal = refusal_of(children_named(observed.service), observed.refused)
    if refusal:
        return Trouble(Reason.REFUSED, f"The API server does not accept it: {refusal}")
    if fit is not None and fit.given_up is not None:
        return fit.given_up
    if gang is not None and gang.limit is not None:
        return Trouble(INCOMPLETE, gang.message)
    if finding is not None and finding.in_grace is None:
        return Trouble(finding.fault, finding.message)
    deployment = observed.deployment
    if deployment is not None and deployment.refused:
        return Trouble(Reason.REFUSED, f"Pods are refused: {deployment.refused}")
    if work.stand == Stand.REFUSED:
        return Trouble(work.reason, work.message)
    if rollout is not None and rollout.phase == Phase.ROLLED_BACK:
        return Trouble(rollout.reason, rollout.message)
    return None


def _victims(observed: Observed, replicas: int, apply: tuple[Manifest, ...]) -> tuple[Mark, ...]:
    """Marks for the pods that should go, if this plan makes the Deployment smaller: whoever chose
    the size, the law or an autoscaler."""
    ref = children_named(observed.service)[0]
    deployment = observed.deployment
    if ref not in map(ref_of, apply):
        return ()
    if deployment is not None and deployment.wanted <= replicas:
        return ()
    return marks(ref.namespace, observed.pods, observed.demand.pods, replicas)


def _status(
    observed: Observed,
    decision: Decision | None,
    trouble: Trouble | None,
    loaded: bool,
    work: Optimized,
    fit: Fit | None,
    rollout: Rollout | None,
    gang: Gang | None = None,
) -> tuple[Manifest | None, tuple[Event, ...]]:
    """The status if it is news, and the events that go with it."""
    before = observed.service.status
    wanted, told = status(observed, decision, trouble, loaded, work, fit, rollout, gang)
    if InferenceServiceStatus.model_validate(wanted) == before:
        return None, ()
    events = transitions(before.conditions, told, TOLD, BAD)
    return status_of(KIND, observed.service.metadata, wanted), events


def _soonest(
    observed: Observed,
    decision: Decision,
    finding: Finding | None,
    rollout: Rollout | None,
    gang: Gang,
) -> float:
    """When time alone may change the answer."""
    steady = [s for pod in current_pods(observed) if (s := steadies_in(pod, observed.now)) > 0]
    grace = [finding.in_grace] if finding is not None and finding.in_grace is not None else []
    cooling = [decision.recheck_in] if decision.recheck_in is not None else []
    # Never at once: a moment that is due by rounding would spin.
    trying = [LOOK_AGAIN] if rollout is not None and rollout.phase == Phase.TRYING else []
    whole = [gang.recheck_in] if gang.recheck_in is not None else []
    return max(0.1, min([NOT_WATCHED, *steady, *grace, *cooling, *trying, *whole]))
