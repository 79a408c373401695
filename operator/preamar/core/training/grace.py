"""Is there time for a checkpoint when a pod is told to go?

A stop reaches the ranks as SIGTERM; they end the step, save, and leave. The time for that is the
shortest link of a chain: what the agent and the pod's grace period allow, and on spot capacity the
notice before the machine is taken. The first two follow from measured saves; the last is the cloud's.
"""

from math import ceil
from typing import NamedTuple

from preamar.api.shared import Capacity
from preamar.api.training import TrainingJob
from preamar.core.conditions import Verdict

GRACE_SECONDS, LONGEST_GRACE = 300, 3600  # for a checkpoint after SIGTERM
BEYOND_SECONDS = 30  # from the agent's last moment to the kubelet's kill
MARGIN = 1.5  # on the 95th percentile of measured saves
ENDING_SECONDS = 5.0  # to hear of the stop, agree on it and leave
TOO_SLOW = "SaveTooSlow"


class Need(NamedTuple):
    """Seconds that a stop takes, and what they are made of."""

    seconds: float
    save: float
    step: float


def need(job: TrainingJob) -> Need | None:
    """What a stop was measured to take; None before the first checkpoint."""
    status = job.status
    save = float(status.checkpoint.save_seconds or 0) if status.checkpoint else 0.0
    if not save:
        return None
    speed = float(status.progress.samples_per_second or 0) if status.progress else 0.0
    step = job.spec.batch.global_size / speed if speed > 0 else 0.0
    return Need(MARGIN * save + step + ENDING_SECONDS, save, step)


def grace_seconds(job: TrainingJob) -> int:
    """What the next attempt's agent gives its ranks: more than the usual where saves need it."""
    known = need(job)
    wanted = ceil(2 * known.seconds) if known else 0
    return min(LONGEST_GRACE, max(GRACE_SECONDS, wanted))


def verdict(job: TrainingJob, given: int | None, notice: int) -> Verdict:
    """Whether a stop has time enough, with an attempt that has ``given`` seconds, the next where
    that is None, and a cloud that gives ``notice`` on spot capacity."""
    given = grace_seconds(job) if given is None else given
    spot = job.spec.placement.capacity != Capacity.ON_DEMAND
    link = (
        f"spot capacity gives {notice} s" if spot and notice < given else f"its pods have {given} s"
    )
    time = min(given, notice) if spot else given
    found = need(job)
    kind = "GracePeriodSufficient"
    if found is None:
        return Verdict(
            kind, "Unknown", "NotMeasured", f"No checkpoint was timed yet; before a stop {link}."
        )
    made_of = (
        f"A stop takes up to {found.seconds:.0f} s ({MARGIN:g} x {found.save:.1f} s of the slowest "
        f"saves, and a step of {found.step:.1f} s), and {link}"
    )
    if found.seconds <= time:
        return Verdict(kind, "True", "Measured", f"{made_of}.")
    advice = (
        "use placement.capacity OnDemand, more workers or a faster volume"
        if spot and notice < given
        else "the next attempt gets more, or use more workers or a faster volume"
    )
    return Verdict(
        kind,
        "False",
        TOO_SLOW,
        f"{made_of}: what was trained since the last checkpoint would be lost; {advice}.",
    )


SLACK = 60
"""Seconds that ranks wait longer than the operator: it knows better why somebody is missing."""


def patience(gang_seconds: int) -> str:
    """PREAMAR_GANG_SECONDS of the ranks."""
    return str(gang_seconds + SLACK)
