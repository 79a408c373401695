"""When did a rank last do something, and what does it do now?

64 bytes that the rank maps into memory and its agent reads. A beat costs a microsecond or two, so
every step has one, and it is still there when the rank is killed in the next: the state file, which
is written twice a second, would be behind. Times are of the monotonic clock, which a pod shares.
"""

import mmap
import statistics
import struct
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

PHASES = ("Starting", "Training", "Saving", "Evaluating", "Exporting", "Stopped", "Done", "Failed")
_WORDS = struct.Struct("<dddQQ")  # at, median, longest save; steps done; place in PHASES
_SIZE = 64
_REMEMBERED = 33


def of_state(file: Path) -> Path:
    """Where the beats of the rank with that state file are."""
    return file.with_suffix(".beat")


@dataclass(frozen=True, slots=True)
class BeatReading:
    at: float
    median: float  # seconds a step; 0 until two were made
    longest_save: float  # seconds; 0 before the first
    step: int  # done so far
    phase: str

    @property
    def doing(self) -> int | None:
        """The step that is being trained or saved; None outside of steps."""
        if self.phase == "Training":
            return self.step + 1
        return self.step if self.phase == "Saving" else None


class Beat:
    """One rank's heart; only that rank writes."""

    def __init__(self, file: Path) -> None:
        file.write_bytes(bytes(_SIZE))
        with file.open("r+b") as stream:
            self._map = mmap.mmap(stream.fileno(), _SIZE)
        self._times: deque[float] = deque(maxlen=_REMEMBERED)
        self._median = self._longest_save = 0.0
        self._step, self._phase = 0, PHASES[0]
        self._since = self._last = time.monotonic()
        self._write(self._last)

    def phase(self, name: str, step: int | None = None) -> None:
        """Something else begins; a name that is not in PHASES counts as training."""
        now = time.monotonic()
        if self._phase == "Saving" and name != "Saving":
            self._longest_save = max(self._longest_save, now - self._since)
        if name != self._phase:
            self._since = self._last = now
        self._phase = name if name in PHASES else "Training"
        self._step = self._step if step is None else step
        self._write(now)

    def stepped(self, step: int) -> None:
        now = time.monotonic()
        self._times.append(now - self._last)
        self._last = now
        self._median = statistics.median(self._times) if len(self._times) > 1 else 0.0
        self._step = step
        self._write(now)

    def _write(self, now: float) -> None:
        place = PHASES.index(self._phase)
        _WORDS.pack_into(self._map, 0, now, self._median, self._longest_save, self._step, place)


def read(file: Path) -> BeatReading | None:
    """The last beat; None if the rank has none, as programs that do not use this library."""
    try:
        at, median, longest, step, place = _WORDS.unpack_from(file.read_bytes())
    except (OSError, struct.error):
        return None
    if not at or place >= len(PHASES):
        return None
    return BeatReading(at, median, longest, step, PHASES[place])
