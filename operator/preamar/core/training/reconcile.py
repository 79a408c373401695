"""What does a training job need next?

A function of its arguments: no clock, no cluster, no agent. The shell gathers an ``Observed``,
calls ``reconcile``, and carries the ``Plan`` out: what is known (``facts``) leads to one decision
(``step``), which is rendered here and told in the status. A plan carried out in full leaves nothing
to plan; tests/life holds us to that.
"""

from dataclasses import replace

from preamar.core.conditions import transitions
from preamar.core.metadata import status_of
from preamar.core.needs_apply import due, refusal_of
from preamar.core.plan import Manifest, Mark, Plan, Ref
from preamar.core.stuck import Stuck, stuck
from preamar.core.training.account import at_the_end, closed
from preamar.core.training.attempts.goodput import Ledger
from preamar.core.training.attempts.lost import without_lost
from preamar.core.training.attempts.schedule import mean_time_between_faults
from preamar.core.training.data.prepare_job import prepare_job
from preamar.core.training.data.preparing import DataState
from preamar.core.training.elastic.conversion import conversion
from preamar.core.training.elastic.placeholder_pods import scouts
from preamar.core.training.elastic.resize import size_notes
from preamar.core.training.facts import Facts, facts_of
from preamar.core.training.leftovers import expired, leftovers
from preamar.core.training.lifecycle import next_step
from preamar.core.training.observe import Observed, children_named
from preamar.core.training.planner.sizes import Split
from preamar.core.training.pods.desired import KIND, attempt, service
from preamar.core.training.status import same_as_before, status
from preamar.core.training.step import Do, Step, StepReason
from preamar.core.training.verdicts import BAD, TOLD, TrainingReason, verdicts
from preamar.core.trouble import Trouble
from preamar.protocol.labels import LEDGER, RESTARTS, STOP, STREAK

NOT_WATCHED = 300.0
ORDERS = "preamar/orders"
"""Field manager of orders on attempts that run."""


def reconcile(observed: Observed) -> Plan:
    """The next steps for one job."""
    if observed.job.metadata.deletion_timestamp:
        return Plan()  # Kubernetes removes the children
    facts = facts_of(without_lost(observed))
    step, spent = next_step(facts), at_the_end(facts)
    refusal, pending = _refusal(facts), _pending(facts, step)
    told_step = _before(step) if step.block or refusal else step
    told = verdicts(facts, told_step, _trouble(facts, step, refusal, pending))
    wanted = status(facts, told_step, told, spent)
    same = same_as_before(facts, wanted)
    gone, gone_in = expired(facts, step)
    return Plan(
        marks=_order(facts, step),
        # What runs is left alone: an edit that cannot be fulfilled only keeps the next from starting.
        apply=() if step.block else _apply(facts, step, spent),
        delete=(*leftovers(facts, step), *gone),
        status=None if same or gone else status_of(KIND, facts.job.metadata, wanted),
        events=() if same else transitions(facts.job.status.conditions, told, TOLD, BAD),
        recheck_in=_soonest(step, pending, gone_in),
    )


def _apply(facts: Facts, step: Step, spent: Ledger | None) -> tuple[Manifest, ...]:
    job, settings, last = facts.job, facts.observed.settings, facts.last
    over = step.do in {Do.SUCCEED, Do.FAIL, Do.REST}
    wanted: list[Manifest] = [] if over else [service(job)]
    if step.do == Do.PREPARE and facts.data.stand == DataState.MISSING:
        wanted.append(prepare_job(job, settings))
    if step.split is not None:
        wanted.append(_next(facts, step, step.split, spent))
    if step.conversion is not None and facts.saved is not None:
        number = step.attempt + 1
        wanted.append(conversion(job, settings, number, step.conversion, facts.saved))
    if step.looks and last is not None:
        wanted.append(scouts(job, settings, last, step.looks))
    seen = facts.observed
    return due(wanted, job.metadata.uid, seen.children, seen.applied, seen.refused)


def _next(facts: Facts, step: Step, part: Split, spent: Ledger | None) -> Manifest:
    """The next attempt. What it must know of those before it is written with it, in one step, so
    that no crash of ours can forget it."""
    job, before = facts.job, closed(facts, spent)
    notes = {RESTARTS: str(step.restarts), STREAK: str(step.streak)}
    notes |= {LEDGER: str(before)} if before else {}
    notes |= size_notes(facts, step.size, step.resize)
    mean = mean_time_between_faults(job, step.workers, before or Ledger())
    settings = facts.observed.settings
    return attempt(job, settings, step.attempt, step.workers, part, notes, mean)


def _order(facts: Facts, step: Step) -> tuple[Mark, ...]:
    """The order to stop, on the attempt's Job, where it survives us. Rank 0's agent is told by the
    shell once the Job shows it."""
    last = facts.last
    if last is None or step.order is None:
        return ()
    ref = Ref("batch/v1", "Job", facts.job.metadata.namespace, last.name)
    return (Mark(ref, last.uid, STOP, step.order.text(), ORDERS),)


def _before(step: Step) -> Step:
    """The step as it is told while what it makes cannot be made: that does not exist."""
    if step.do == Do.CONVERT:
        return replace(step, do=Do.WAIT)
    return replace(step, do=Do.WAIT, attempt=step.attempt - 1) if step.do == Do.START else step


def _refusal(facts: Facts) -> str:
    refused, seen = facts.observed.refused, facts.observed
    return refusal_of(children_named(facts.job, seen.jobs), refused) if refused else ""


def _pending(facts: Facts, step: Step) -> Stuck | None:
    if step.do == Do.PREPARE:
        return stuck(facts.data.pods, facts.now)
    if step.do not in {Do.TRAIN, Do.ORDER}:
        return None
    return stuck(facts.pods, facts.now)


def _trouble(facts: Facts, step: Step, refusal: str, pending: Stuck | None) -> Trouble | None:
    if step.block is not None:
        return Trouble(step.block.reason, step.block.message)
    if refusal:
        return Trouble(TrainingReason.REFUSED, f"The API server does not accept it: {refusal}")
    gang = facts.job.status.gang
    if step.do == Do.WAIT and step.why == StepReason.GANG and gang is not None:
        again = f"What the others held is free; attempt {step.attempt + 1} follows after a pause."
        return Trouble(StepReason.GANG, f"{gang.explanation} {again}")
    if pending is not None and pending.in_grace is None:
        return Trouble(pending.cause, pending.message)
    return None


def _soonest(step: Step, pending: Stuck | None, gone_in: float | None) -> float:
    """When time alone may change the answer."""
    block = step.block.recheck_in if step.block is not None else None
    grace = pending.in_grace if pending is not None else None
    moments = [each for each in (step.recheck_in, block, grace, gone_in) if each is not None]
    return max(0.1, min([NOT_WATCHED, *moments]))
