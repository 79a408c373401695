"""What does a rank's exit mean?

A rank that failed with open eyes has left its class and sentence in its state file. One that was
killed has not: then the signal, the kernel's count of out-of-memory kills and its last lines tell.
Launchers report signal s as 128 + s or 256 - s; both are read.
"""

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from preamar_train.failures import DONE, STOPPED, Class, kind_of_text


@dataclass(frozen=True, slots=True)
class Exit:
    rank: int
    code: int  # as subprocess says: -s when killed by signal s


@dataclass(frozen=True, slots=True)
class ExitVerdict:
    rank: int
    kind: Class
    explanation: str
    waits: bool = False  # for another rank, so that the cause is elsewhere


def is_failure(code: int) -> bool:
    return code not in {DONE, STOPPED}


def signal_of(code: int) -> int | None:
    """The signal behind an exit code, in any of three spellings."""
    number = -code if code < 0 else code - 128 if 128 < code < 128 + 32 else 256 - code
    return number if 0 < number < 32 else None


def verdict(
    exit_: Exit, told: Mapping[str, Any], lines: Sequence[str], *, oom: bool
) -> ExitVerdict:
    """Why this rank failed."""
    failure = told.get("failure") or {}
    if failure.get("class") in set(Class):
        return ExitVerdict(exit_.rank, Class(failure["class"]), str(failure.get("explanation", "")))
    number = signal_of(exit_.code)
    if number is None:
        last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
        kind = kind_of_text("\n".join(lines[-20:]))
        return ExitVerdict(
            exit_.rank, kind, f"Rank {exit_.rank} exited with code {exit_.code}: {last[:300]}"
        )
    return ExitVerdict(exit_.rank, *_of_signal(exit_.rank, number, lines, oom=oom))


def _of_signal(rank: int, number: int, lines: Sequence[str], *, oom: bool) -> tuple[Class, str]:
    name = signal.Signals(number).name
    if number == signal.SIGKILL and oom:
        return (
            Class.OUT_OF_MEMORY,
            f"Rank {rank} was killed because the pod's memory was used up. Raise the memory limit or lower batch.micro.",
        )
    if number in {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}:
        return Class.KILLED, f"Rank {rank} was killed from outside ({name})."
    if number == signal.SIGBUS:
        return (
            Class.SHARED_MEMORY,
            f"Rank {rank} ran out of shared memory ({name}): /dev/shm is too small.",
        )
    # NCCL's watchdog and gloo's threads abort the process when peers are gone.
    kind = kind_of_text("\n".join(lines[-20:]))
    if kind is Class.PEER_LOST:
        return kind, f"Rank {rank} lost the connection to its peers ({name})."
    return kind, f"Rank {rank} crashed ({name})."


def worst(verdicts: Sequence[ExitVerdict]) -> ExitVerdict:
    """The cause among failures of one pod: a lost peer is what another's death looks like."""
    causes = [each for each in verdicts if each.kind is not Class.PEER_LOST]
    return (causes or list(verdicts))[0]
