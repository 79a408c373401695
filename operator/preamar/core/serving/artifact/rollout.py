"""How far may a new revision go: is it tried, does it serve all, or none?

With strategy Canary it gets a growing share of the requests, beside replicas of the one before, which
stay as they are. Each step lasts its time and needs enough answers; after the last it is promoted. It is
rolled back where it does not come up, fails more often, answers otherwise or is slower, and stays so
until the spec is edited. All of it is kept in status.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import reduce
from math import ceil
from typing import Any

from preamar.api.inference import InferenceService
from preamar.core.conditions import Verdict, shortened
from preamar.core.serving.artifact.optimize_words import Optimized, OptimizeState
from preamar.core.serving.canary.answer_comparison import allowed
from preamar.core.serving.canary.canary_analysis import LEAST_REQUESTS, Judgement, judge
from preamar.core.serving.facts import Facts
from preamar.core.serving.health.faults import Fault, Finding, Made, find
from preamar.core.serving.pods.readiness import down, is_ready
from preamar.core.timestamps import moment, stamp
from preamar.protocol.canary import AnswerDifferences, RevisionCounts, Trial
from preamar.protocol.demand import Demand
from preamar.protocol.labels import REVISION

WAITS = frozenset({Fault.UNSCHEDULABLE})
"""Of no fault of the revision: it may have a node later."""
LOOK_AGAIN = 5.0
PATIENCE = 3
"""The first step lasts so many times its length at most where few answers could be compared."""


class Phase(StrEnum):
    TRYING = "Trying"
    PROMOTED = "Promoted"
    ROLLED_BACK = "RolledBack"


@dataclass(frozen=True, slots=True)
class RolloutState:
    """Of one revision. ``before``: the service as it was. ``requests``: of the new revision when the
    present step began, which was at ``since``, None until a replica of it was ready. ``tolerance``:
    how far its answers may be from those of the one before, None where they are not compared."""

    revision: str
    before: InferenceService
    phase: Phase = Phase.TRYING
    step: int = 1
    since: datetime | None = None
    requests: int = 0
    reason: str = "Starting"
    message: str = "Its first replica starts."
    tolerance: float | None = None

    def percent(self, service: InferenceService) -> int:
        """Its share of the requests."""
        wish = service.spec.rollout.canary
        return min(100, wish.percent * self.step) if self.phase == Phase.TRYING else 0

    def replicas(self, service: InferenceService, beside: int) -> int:
        """Of the new revision, beside so many of the one before; none beside none."""
        if self.phase != Phase.TRYING or beside == 0:
            return 0
        return max(1, ceil(beside * self.percent(service) / 100))

    def told(self, service: InferenceService) -> dict[str, Any]:
        """``status.rollout``."""
        words: dict[str, Any] = {
            "revision": self.revision,
            "phase": str(self.phase),
            "step": self.step,
            "percent": self.percent(service),
            "requests": self.requests,
            "reason": self.reason,
            "message": self.message,
        }
        if self.tolerance is not None and self.phase == Phase.TRYING:
            words["tolerance"] = f"{self.tolerance:.12f}".rstrip("0").rstrip(".")
        return words | ({"since": stamp(self.since)} if self.since else {})


def rollout_of(facts: Facts, work: Optimized) -> RolloutState | None:
    """What becomes of a new revision now; None where there is none on its way in steps."""
    observed = facts.observed
    if not facts.canary or work.stand not in {OptimizeState.UNASKED, OptimizeState.DONE}:
        return None
    known = known_rollout(facts)
    if known is None or known.phase != Phase.TRYING:
        return known
    finding = _finding(facts)
    if finding is not None and finding.fault not in WAITS:
        return _back(known, str(finding.fault), finding.message)
    ready = [pod for pod in observed.canaries if is_ready(pod, observed.now)]
    if known.since is None and not ready:
        return replace(known, message=finding.message) if finding else known
    since = known.since or observed.now
    trial = _trial(observed.demand, known.revision)
    wish = facts.service.spec.rollout.canary
    seconds = (observed.now - since).total_seconds()
    lasted = seconds >= wish.interval_seconds
    # Not for ever: some traffic cannot be compared, and then the rest has to do.
    waits = known.step == 1 and seconds < PATIENCE * wish.interval_seconds
    judged = judge(trial, known.requests, known.tolerance, waits=waits)
    # What it does wrong needs no more time; how fast it is shows when it has run for a while.
    if judged.worse and (lasted or judged.judgement != Judgement.SLOW):
        return _back(known, str(judged.judgement), judged.sentence)
    # Figures that change with every request would be a write each.
    message = known.message if known.since else "What callers get from both is compared."
    now = replace(known, since=since, reason="Comparing", message=message)
    if not lasted or judged.judgement != Judgement.GOOD:
        return now
    if known.step >= wish.steps:
        now = replace(now, phase=Phase.PROMOTED, reason=str(judged.judgement))
        return replace(now, message=judged.sentence)
    now = replace(now, step=known.step + 1, since=observed.now, requests=trial.new.requests)
    return replace(now, message=judged.sentence)


def verdict(facts: Facts, rollout: RolloutState | None) -> tuple[Verdict, ...]:
    """The condition ``RolledOut``, with strategy Canary."""
    service = facts.service
    if not facts.canary:
        return ()
    if rollout is None:
        return (Verdict("RolledOut", "True", "Current", "There is no other revision."),)
    if rollout.phase == Phase.PROMOTED:
        return (Verdict("RolledOut", "True", rollout.phase, rollout.message),)
    if rollout.phase == Phase.ROLLED_BACK:
        sentence = f"The new revision serves nobody. {rollout.message}"
        return (Verdict("RolledOut", "False", rollout.reason, shortened(sentence)),)
    wish = service.spec.rollout.canary
    sentence = (
        f"Step {rollout.step} of {wish.steps}: the new revision gets {rollout.percent(service)} % of "
        f"the requests, for {wish.interval_seconds} s and {LEAST_REQUESTS} requests at least."
    )
    if rollout.since is None:
        sentence = f"{sentence} {rollout.message}"
    return (Verdict("RolledOut", "Unknown", rollout.phase, sentence),)


def known_rollout(facts: Facts) -> RolloutState | None:
    """As status has it; begun where the replicas that there are were made otherwise."""
    service, deployment, before = facts.service, facts.observed.deployment, facts.before
    revision, told = facts.revision, service.status.rollout
    if deployment is None or deployment.deleting:
        return None
    if before is None or facts.before_revision == revision:
        if told is not None and told.revision == revision and told.phase == Phase.PROMOTED:
            return RolloutState(revision, service, Phase.PROMOTED, told.step, moment(told.since),
                           told.requests, told.reason, told.message)  # fmt: skip
        return None
    if told is not None and told.revision == revision and told.phase in set(Phase):
        return RolloutState(
            revision,
            before,
            Phase(told.phase),
            max(1, told.step),
            moment(told.since),
            told.requests,
            told.reason,
            told.message,
            allowed(before, service),
        )
    # Nothing is known of one that has never loaded: there is nothing to compare with.
    if service.status.revision != facts.before_revision:
        return None
    return RolloutState(revision, before, tolerance=allowed(before, service))


def _finding(facts: Facts) -> Finding | None:
    canaries, batching = facts.observed.canaries, facts.service.spec.runtime.batching
    mine = tuple(pod for pod in canaries if pod.labels.get(REVISION) == facts.revision)
    made = Made(facts.gpu, batching.max_batch_size)
    now = facts.observed.now
    found = find(down(mine, now), now, made)
    return found if found is not None and found.in_grace is None else None


def _trial(demand: Demand, revision: str) -> Trial:
    told = [trial for trial in demand.trials if trial.revision == revision]
    return Trial(
        revision,
        reduce(RevisionCounts.plus, (trial.old for trial in told), RevisionCounts()),
        reduce(RevisionCounts.plus, (trial.new for trial in told), RevisionCounts()),
        reduce(AnswerDifferences.plus, (trial.apart for trial in told), AnswerDifferences()),
    )


def _back(known: RolloutState, reason: str, message: str) -> RolloutState:
    return replace(known, phase=Phase.ROLLED_BACK, reason=reason, message=shortened(message))
