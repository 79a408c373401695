"""Has the job succeeded, does it run, is it suspended, must a person act?

Six conditions from the step that was decided and what stands in its way. ``Succeeded`` is Unknown
until the end, so that kstatus reads it as in progress.
"""

from enum import StrEnum

from preamar.core.conditions import Verdict
from preamar.core.stuck import Cause
from preamar.core.training import grace
from preamar.core.training.admission.affordable import Beyond
from preamar.core.training.admission.blocks import TrainingBlock
from preamar.core.training.admission.limits import waits
from preamar.core.training.attempts.endings import BROKEN, UNCONVERTED
from preamar.core.training.attempts.policy import GIVEN_UP, POISON
from preamar.core.training.data.starved import starved
from preamar.core.training.facts import Facts
from preamar.core.training.observe import JobView
from preamar.core.training.planner.interconnect import fell_back
from preamar.core.training.planner.sizes import Unfit
from preamar.core.training.pods.desired import order_digest
from preamar.core.training.resizes import continuity
from preamar.core.training.step import Do, Step, StepReason
from preamar.core.trouble import Trouble


class TrainingReason(StrEnum):
    PROGRESSING = "Progressing"
    IN_PROGRESS = "InProgress"
    TRAINING = "Training"
    STARTING = "Starting"
    QUEUED = "Queued"
    REFUSED = "Refused"
    KEEPS_SIZE = "KeepsItsSize"
    FEWER = "FewerPlaces"
    NOT_SUSPENDED = "NotSuspended"
    SUSPENDING = "Suspending"
    FELL_BACK = "InterconnectFellBack"


TOLD = frozenset(
    {
        "Succeeded",
        "Running",
        "Suspended",
        "Stalled",
        "ContinuityVerified",
        "GracePeriodSufficient",
    }
)
FAILED = frozenset({StepReason.DEADLINE, StepReason.RESTARTS_EXHAUSTED, StepReason.INTERRUPTED})
ROLLED = frozenset({BROKEN, UNCONVERTED, "ConversionFailed"})
BAD: frozenset[str] = frozenset(
    {*TrainingBlock, *Unfit, *Beyond, *Cause, *FAILED, *GIVEN_UP, *ROLLED}
    | {
        StepReason.GANG,
        TrainingReason.REFUSED,
        TrainingReason.FELL_BACK,
        TrainingReason.FEWER,
        grace.TOO_SLOW,
    }
)
FAILURES = {
    StepReason.DEADLINE: "It ran longer than spec.activeDeadlineSeconds.",
    StepReason.RESTARTS_EXHAUSTED: "It failed more often than spec.restarts.limit allows.",
    StepReason.INTERRUPTED: "It was interrupted too often without a fault of its own.",
}


def verdicts(facts: Facts, step: Step, trouble: Trouble | None) -> tuple[Verdict, ...]:
    """The conditions, in the order in which people read them."""
    given = facts.last.grace if facts.last is not None and not facts.over else None
    return (
        _succeeded(step),
        _running(facts, step, trouble),
        _suspended(facts, step),
        _stalled(facts, step, trouble),
        continuity(facts, step),
        grace.verdict(facts.job, given, facts.observed.settings.spot_notice_seconds),
    )


def failure(step: Step) -> str:
    """Why the job has ended without success."""
    told = step.ending
    last = f" The last attempt: {told.kind}: {told.explanation}" if told else ""
    if step.why == POISON and step.streak.step is not None:
        return (
            f"Step {step.streak.step} failed {step.streak.times} times in a row, so another try would "
            f"fail as well; all checkpoints before it are kept.{last}"
        )
    return (
        f"{FAILURES.get(StepReason(step.why), '')}{last}"
        if step.why in set(StepReason)
        else last.strip()
    )


def _succeeded(step: Step) -> Verdict:
    if step.do == Do.SUCCEED:
        return Verdict("Succeeded", "True", StepReason.DONE, "All steps are trained.")
    if step.do == Do.FAIL:
        return Verdict("Succeeded", "False", step.why, failure(step) or "The job has failed.")
    return Verdict("Succeeded", "Unknown", TrainingReason.IN_PROGRESS, "The job has not ended.")


def _running(facts: Facts, step: Step, trouble: Trouble | None) -> Verdict:
    last = facts.last
    if step.do not in {Do.TRAIN, Do.ORDER} or last is None:
        if trouble is not None and step.do in {Do.START, Do.WAIT, Do.PREPARE, Do.CONVERT}:
            return Verdict("Running", "False", trouble.reason, trouble.message)
        sentence = facts.data.sentence if step.do == Do.PREPARE else ""
        return Verdict("Running", "False", step.why, sentence or _waiting(step))
    if last.suspended:
        return Verdict("Running", "False", TrainingReason.QUEUED, "The attempt waits in its queue.")
    if trouble is not None:
        return Verdict("Running", "False", trouble.reason, trouble.message)
    if facts.running < last.workers:
        return Verdict(
            "Running",
            "False",
            TrainingReason.STARTING,
            f"Attempt {last.attempt} starts its workers.",
        )
    if step.why == StepReason.RESIZING:
        return Verdict("Running", "True", step.why, f"The {last.workers} workers save and stop.")
    other = _of_another_size(facts, step, last)
    if other is not None:
        return other
    slower = fell_back(facts.observed)
    if slower:
        return Verdict("Running", "True", TrainingReason.FELL_BACK, slower)
    changed = facts.notes.digest != order_digest(facts.job)
    note = " Changes of the spec take effect with the next attempt." if changed else ""
    note += starved(facts.live)
    return Verdict(
        "Running", "True", TrainingReason.TRAINING, f"Attempt {last.attempt} trains.{note}"
    )


def _of_another_size(facts: Facts, step: Step, last: JobView) -> Verdict | None:
    wish, fewer = facts.job.spec.workers.replicas, facts.notes.fewer
    if last.workers == wish:
        return None
    if fewer is not None and last.workers < wish:
        sentence = (
            f"It trains on with {last.workers} of {wish} workers. {fewer.message} "
            "Places for the others are looked for."
        )
        return Verdict("Running", "True", TrainingReason.FEWER, sentence)
    sentence = f"It trains on with {last.workers} workers. {step.keeps}".rstrip()
    return Verdict("Running", "True", TrainingReason.KEEPS_SIZE, sentence)


def _waiting(step: Step) -> str:
    told = (
        f" The last attempt: {step.ending.kind}: {step.ending.explanation}" if step.ending else ""
    )
    sentences = {
        Do.PREPARE: "The data is prepared.",
        Do.START: f"Attempt {step.attempt} starts with {step.workers} workers.",
        Do.CONVERT: f"A pod without accelerators converts the checkpoint for {step.workers} workers.",
        Do.WAIT: "The next attempt waits until the pods of the last are gone and a pause is over.",
        Do.STOP: "The ranks save and stop.",
        Do.REST: "The job is suspended.",
        Do.SUCCEED: "The job has ended.",
        Do.FAIL: "The job has ended.",
    }
    return sentences.get(step.do, "") + told


def _suspended(facts: Facts, step: Step) -> Verdict:
    if not facts.job.spec.suspend or step.do in {Do.SUCCEED, Do.FAIL}:
        return Verdict(
            "Suspended", "False", TrainingReason.NOT_SUSPENDED, "The job is not suspended."
        )
    if step.do == Do.REST:
        return Verdict(
            "Suspended", "True", StepReason.SUSPENDED, "No pods run; spec.suspend is true."
        )
    return Verdict("Suspended", "False", TrainingReason.SUSPENDING, "The ranks save and stop.")


def _stalled(facts: Facts, step: Step, trouble: Trouble | None) -> Verdict:
    if step.do == Do.FAIL:
        return Verdict("Stalled", "True", step.why, failure(step) or "The job has failed.")
    if trouble is not None:
        return Verdict("Stalled", "True", trouble.reason, trouble.message)
    note = waits(facts.job) if step.do != Do.SUCCEED else ""
    return Verdict(
        "Stalled", "False", TrainingReason.PROGRESSING, f"Nothing stands in the way.{note}"
    )
