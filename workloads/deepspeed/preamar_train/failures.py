"""What can go wrong in a trainer, and whose turn it is.

Each failure carries a class that the operator decides on and one sentence for the user.
`ConfigError`, `DataError` and `CheckpointTorn` are the user's to mend; all others are worth another
attempt.
"""

import errno
from enum import StrEnum

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
DONE = 0
FAILED = 1
STOPPED = 75


class Class(StrEnum):
    KILLED = "Killed"
    OUT_OF_MEMORY = "OutOfMemory"
    SHARED_MEMORY = "SharedMemory"
    NON_FINITE_LOSS = "NonFiniteLoss"
    DATA_ERROR = "DataError"
    CONFIG_ERROR = "ConfigError"
    DISK_FULL = "DiskFull"
    HUNG = "Hung"
    CHECKPOINT_ERROR = "CheckpointError"
    CHECKPOINT_TORN = "CheckpointTorn"
    CONTINUITY_BROKEN = "ContinuityBroken"
    NOT_CONVERTED = "NotConverted"
    PEER_LOST = "PeerLost"
    INTERCONNECT = "InterconnectMismatch"
    UNKNOWN = "Unknown"


class TrainerFailure(Exception):
    """A failure whose class and sentence are known where it is raised."""

    def __init__(self, kind: Class, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind
        self.sentence = sentence

    def __reduce__(self) -> tuple[type, tuple[Class, str]]:
        return type(self), (self.kind, self.sentence)  # or it could not be sent to another process


# Words in the errors of torch, gloo and NCCL; they carry no codes.
_PEER_WORDS = (
    "connection closed by peer",
    "connection reset by peer",
    "connection refused",
    "broken pipe",
    "socket closed",
    "timed out waiting",
    "socket timeout",
    "wait timeout",
    "clients joined",
    "gloo/transport",
    "nccl error",
    "ncclremoteerror",
    "ncclsystemerror",
    "watchdog caught collective operation timeout",
    "collective operation timeout",
)
_SHARED_WORDS = ("/dev/shm", "shared memory", "shm_open", "bus error")
_MEMORY_WORDS = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "bad_alloc",
)


def kind_of_text(text: str) -> Class:
    """The class that an error's words point to; `Unknown` if none does."""
    low = text.lower()
    if any(word in low for word in _SHARED_WORDS):
        return Class.SHARED_MEMORY
    if any(word in low for word in _MEMORY_WORDS):
        return Class.OUT_OF_MEMORY
    if any(word in low for word in _PEER_WORDS):
        return Class.PEER_LOST
    return Class.UNKNOWN


def classify(error: BaseException) -> TrainerFailure:
    """Any exception as a failure with a class and a sentence."""
    if isinstance(error, TrainerFailure):
        return error
    name = type(error).__name__
    first = (str(error).strip().splitlines() or [""])[0][:400]
    if isinstance(error, MemoryError) or name == "OutOfMemoryError":
        return TrainerFailure(
            Class.OUT_OF_MEMORY,
            f"A rank ran out of memory ({first or name}). Give it more memory or a smaller micro-batch.",
        )
    if name in {"DeepSpeedConfigError", "ValidationError"}:
        return TrainerFailure(Class.CONFIG_ERROR, f"DeepSpeed refuses its configuration: {first}")
    kind = Class.PEER_LOST if name.startswith("Dist") else kind_of_text(str(error))
    if kind is Class.PEER_LOST:
        return TrainerFailure(kind, f"A rank lost the connection to its peers: {first}")
    if kind is Class.SHARED_MEMORY:
        return TrainerFailure(kind, f"Shared memory (/dev/shm) is too small or missing: {first}")
    if kind is Class.OUT_OF_MEMORY:
        return TrainerFailure(kind, f"A rank ran out of memory: {first}")
    if isinstance(error, OSError) and error.errno in FULL:
        return TrainerFailure(Class.DISK_FULL, f"A volume of the pod is full: {error}")
    return TrainerFailure(Class.UNKNOWN, f"{name}: {first}" if first else name)
