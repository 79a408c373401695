"""What is decided in one pass over a service?

All of it: what stands in the way, how far the model's making and a new revision have come, with which
batch it fits, which size it gets, how many of that may have pods now, and what a person should act on.
Who carries it out, or tells of it, reads this and decides nothing more.
"""

from dataclasses import dataclass, replace
from typing import Final

from preamar.core.needs_apply import refusal_of
from preamar.core.serving.artifact.artifacts import served_of
from preamar.core.serving.artifact.optimize_words import Optimized, OptimizeState
from preamar.core.serving.artifact.optimized import optimized
from preamar.core.serving.artifact.rollout import Phase, RolloutState, known_rollout, rollout_of
from preamar.core.serving.blocks import blocked
from preamar.core.serving.facts import Facts
from preamar.core.serving.groups.gang import GangLimit, gang_of
from preamar.core.serving.groups.members import current_workers
from preamar.core.serving.health.faults import Finding, Made, find
from preamar.core.serving.health.fit import fit_of, made_with
from preamar.core.serving.health.fit_kept import KeptFit
from preamar.core.serving.may_exist import Existing, may_exist
from preamar.core.serving.pods.desired import with_batch
from preamar.core.serving.pods.readiness import down
from preamar.core.serving.sizing.scaling import ScalingDecision
from preamar.core.serving.sizing.size import size_of
from preamar.core.trouble import Blocked, Trouble

REFUSED: Final = "Refused"


@dataclass(frozen=True, slots=True)
class Served:
    """What is decided of replicas. ``size`` is asked for; ``existing`` of it have pods."""

    fit: KeptFit
    finding: Finding | None
    size: ScalingDecision
    gang: GangLimit
    existing: Existing


@dataclass(frozen=True, slots=True)
class Step:
    """The whole decision. ``facts`` are of the service as its replicas are made, which may be as it
    was before; ``served`` is None where a person must act first, and while there is nothing to
    serve yet."""

    facts: Facts
    work: Optimized
    rollout: RolloutState | None = None
    block: Blocked | None = None
    served: Served | None = None
    trouble: Trouble | None = None


def next_step(asked: Facts) -> Step:
    """What is decided on a service that is ``asked`` for."""
    block, work = blocked(asked), optimized(asked)
    if block is not None:
        trouble = Trouble(block.reason, block.message)
        return Step(asked, work, known_rollout(asked), block, trouble=trouble)
    rollout = rollout_of(asked, work)
    facts = served_of(asked, work, rollout)
    if facts is None:
        # What it is made of is gone, or was never there: whatever has loaded, this has not.
        unmade = replace(asked, loaded=False)
        return Step(unmade, work, trouble=_trouble(unmade, work, None, None))
    served = _served(facts)
    return Step(facts, work, rollout, None, served, _trouble(facts, work, rollout, served))


def _served(facts: Facts) -> Served:
    fit, observed, now = fit_of(facts), facts.observed, facts.observed.now
    workers = down(current_workers(facts, fit.batch), now)
    pods = (*made_with(facts.down, facts, fit), *workers)
    finding = find(pods, now, Made(facts.gpu, fit.batch))
    size = size_of(
        with_batch(facts.service, fit.batch),
        demand=observed.demand,
        pods=facts.here,
        loaded=facts.loaded,
        failing=fit.given_up is not None or (finding is not None and finding.in_grace is None),
        habit=observed.habit,
        now=now,
    )
    gang = gang_of(facts, size.replicas)
    return Served(fit, finding, size, gang, may_exist(fit, gang, size.replicas))


def _trouble(
    facts: Facts, work: Optimized, rollout: RolloutState | None, served: Served | None
) -> Trouble | None:
    """The one that matters most."""
    refusal = refusal_of(facts.children, facts.observed.refused)
    if refusal:
        return Trouble(REFUSED, f"The API server does not accept it: {refusal}")
    if served is not None and served.existing.trouble is not None:
        return served.existing.trouble
    finding = served.finding if served is not None else None
    if finding is not None and finding.in_grace is None:
        return Trouble(finding.fault, finding.message)
    deployment = facts.observed.deployment
    if deployment is not None and deployment.refused:
        return Trouble(REFUSED, f"Pods are refused: {deployment.refused}")
    if work.stand == OptimizeState.REFUSED:
        return Trouble(work.reason, work.message)
    if rollout is not None and rollout.phase == Phase.ROLLED_BACK:
        return Trouble(rollout.reason, rollout.message)
    return None
