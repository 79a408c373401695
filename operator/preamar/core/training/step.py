"""What is to be done next in a training job, and why?

``Step`` is the whole decision. Whoever writes objects renders it, and whoever tells of it reads it:
nothing of it is decided again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from preamar.core.training.annotations import ResizeRequest
from preamar.core.training.attempts.endings import Ending
from preamar.core.training.attempts.policy import NONE_IN_A_ROW, Streak
from preamar.core.training.elastic.size import Size
from preamar.core.training.observe import JobView
from preamar.core.training.planner.sizes import Split
from preamar.core.trouble import Blocked


class Do(StrEnum):
    PREPARE = "Prepare"
    START = "Start"
    ORDER = "Order"
    CONVERT = "Convert"
    TRAIN = "Train"
    WAIT = "Wait"
    STOP = "Stop"
    REST = "Rest"
    SUCCEED = "Succeed"
    FAIL = "Fail"


class StepReason(StrEnum):
    PREPARING = "Preparing"
    FIRST = "Starting"
    RESTARTING = "Restarting"
    TRAINING = "Training"
    STOPPING = "Stopping"
    SUSPENDED = "Suspended"
    DONE = "Done"
    FAILED_BEFORE = "Failed"
    DEADLINE = "DeadlineExceeded"
    RESTARTS_EXHAUSTED = "RestartsExhausted"
    INTERRUPTED = "TooManyInterruptions"
    USERS = "UserError"
    RESIZED = "ResizedBeforeStart"
    GANG = "GangIncomplete"
    RESIZING = "Resizing"
    CONVERTING = "ConvertingCheckpoint"
    CLEARING = "ScoutsLeave"


@dataclass(frozen=True, slots=True)
class Step:
    """What to do and why. ``attempt`` and ``workers`` are of the attempt that is meant;
    ``restarts`` those that count so far, the last failure included."""

    do: Do
    why: str
    attempt: int
    workers: int
    restarts: int
    size: Size
    ending: Ending | None = None
    recheck_in: float | None = None
    streak: Streak = NONE_IN_A_ROW
    """Failures in a row at one place so far, the last included."""
    block: Blocked | None = None
    """Why what should begin may not."""
    split: Split | None = None
    """How the attempt that starts splits a step."""
    resize: ResizeRequest | None = None
    """The change of size with which the next attempt begins."""
    conversion: ResizeRequest | None = None
    """The same, where a Job has to be made for it that converts the checkpoint."""
    order: ResizeRequest | None = None
    """What a running attempt is told to stop for."""
    keeps: str = ""
    """Why a running attempt is not taken to the size that was asked for."""
    looks: int = 0
    """For how many workers pods are to be made that look for places."""
    dismissed: tuple[JobView, ...] = ()
    """Jobs of such pods that look for nothing any more."""
    gang: Mapping[str, Any] | None = None
    """What ``status.gang`` tells of places that were sought in vain; None where that is no news."""
