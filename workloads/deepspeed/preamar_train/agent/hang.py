"""Does every rank still make progress, and if not, which one stands still?

A rank may take ten times its median step, and never less than PREAMAR_HANG_SECONDS (20); what is
no step has more time. Who is late is asked for its Python stack (SIGUSR1). A rank that waits in an
exchange waits for another: the one that does not is the cause.
"""

import contextlib
import os
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from preamar_train.reports import beat, rank_state
from preamar_train.reports.beat import BeatReading

FACTOR = 10.0
FLOOR_SECONDS = 20.0
ALLOWED: Mapping[str, float] = {
    "Starting": 3600.0,  # joining has a deadline of its own; reading the data has none
    "Saving": 900.0,
    "Evaluating": 1800.0,
    "Exporting": 3600.0,
}
FIRST_SECONDS = 900.0  # for steps that compile and allocate
STACK_SECONDS = 1.0  # to write a stack
OTHERS_SECONDS = 5.0  # for the pod with the cause to speak first
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+) in (?P<name>\S+)')
_EXCHANGES = ("/torch/distributed/", "/deepspeed/comm/")
_STATES = {"T": "is stopped", "t": "is traced", "D": "waits for a disk or a network volume"}


@dataclass(frozen=True, slots=True)
class Late:
    rank: int
    pid: int
    seconds: float
    seen: BeatReading


@dataclass(frozen=True, slots=True)
class RankLocation:
    """Where a late rank stands."""

    rank: int
    waits: bool  # in an exchange, so for another rank
    words: str


def allowed(seen: BeatReading, floor: float) -> float:
    """Seconds until the next beat of a rank that is well."""
    if seen.phase in {"Stopped", "Done", "Failed"}:
        return ALLOWED["Saving"]
    if seen.phase != "Training":
        return max(ALLOWED[seen.phase], FACTOR * seen.longest_save)
    if not seen.median:
        return max(FIRST_SECONDS, floor)
    return max(floor, FACTOR * seen.median)


def late(pids: Mapping[int, int], now: float, floor: float) -> list[Late]:
    """Those of the running ranks (rank -> pid) that are late. Who has no beats never is."""
    found = []
    for rank, pid in pids.items():
        seen = beat.read(beat.of_state(rank_state.of_rank(rank)))
        if seen is not None and now - seen.at > allowed(seen, floor):
            found.append(Late(rank, pid, now - seen.at, seen))
    return found


def stack_file(rank: int) -> Path:
    return rank_state.of_rank(rank).with_suffix(".stack")


def ask(pids: Mapping[int, int]) -> None:
    """Lets each rank write its stacks."""
    for rank, pid in pids.items():
        if stack_file(rank).exists():  # else the signal would end it
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGUSR1)


def place(rank: int, pid: int) -> RankLocation:
    """Where it stands, from the stack it wrote or from what the kernel says."""
    frozen = _STATES.get(_kernel_state(pid))
    frames = frames_of(stack(rank))
    if frozen and (frozen != _STATES["D"] or not frames):
        return RankLocation(rank, False, frozen)
    if not frames:
        return RankLocation(rank, False, "does not answer")
    # Torch's own frames say little; the first of whoever called it says where.
    waits = any(part in file for file, _, _ in frames[:4] for part in _EXCHANGES)
    own = next((f for f in frames if "/preamar_train/" in f[0]), frames[0])
    file, line, name = frames[0] if not waits and "/preamar_train/" not in own[0] else own
    return RankLocation(rank, waits, f"stands in {name} ({Path(file).name}:{line})")


def stack(rank: int) -> str:
    try:
        return stack_file(rank).read_text(errors="replace")[-16_000:]
    except OSError:
        return ""


def frames_of(text: str) -> list[tuple[str, str, str]]:
    """The main thread's frames (file, line, function), the innermost first."""
    _, found, rest = text.rpartition("Current thread")
    if not found:
        return []
    return [
        (match["file"], match["line"], match["name"])
        for match in map(_FRAME.search, rest.splitlines()[1:])
        if match
    ]


def sentence(first: Late, places: list[RankLocation], world: int) -> str:
    """What is told: who stands still since when, and who waits for it."""
    usual = f" (a step took {first.seen.median:.2g} s)" if first.seen.median else ""
    doing = "took no step" if first.seen.phase == "Training" else f"was {first.seen.phase.lower()}"
    since = f"{doing} for {first.seconds:.0f} s{usual}"
    causes = [each for each in places if not each.waits]
    waiting = [str(each.rank) for each in places if each.waits]
    if not causes:
        whom = "each other" if len(places) == world else "a rank of another pod"
        return f"Rank {first.rank} {since}: it and all others here wait for {whom} in an exchange."
    rest = f" Waiting in an exchange: rank {', '.join(waiting)}." if waiting else ""
    return f"Rank {causes[0].rank} {since}: it {causes[0].words}.{rest}"


def _kernel_state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""
