"""What can come next in a training job, and why? The words in which ``lifecycle`` decides."""

from dataclasses import dataclass
from enum import StrEnum

from preamar.core.training.attempts.endings import Ending
from preamar.core.training.attempts.policy import NONE_IN_A_ROW, Streak


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


class Why(StrEnum):
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
    ending: Ending | None = None
    recheck_in: float | None = None
    streak: Streak = NONE_IN_A_ROW
    """Failures in a row at one place so far, the last included."""
