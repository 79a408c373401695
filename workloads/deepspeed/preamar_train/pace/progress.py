"""What a rank says of itself while it works, and at what pace.

Only rank 0's words reach the operator; all ranks write them, so that an agent can say how far
its rank was when it died. Written at most twice a second and at every change of state.
"""

import time
from pathlib import Path
from typing import Any

from preamar_train.pace.clock import Clock
from preamar_train.reports import beat, rank_state

_EVERY_SECONDS = 0.5
_WINDOW_SECONDS = 30.0


class RankProgress:
    def __init__(self, file: Path, attempt: int, steps: int) -> None:
        self._file = file
        self._beat, self._clock = beat.Beat(beat.of_state(file)), Clock()
        self._words: dict[str, Any] = {
            "attempt": attempt,
            "state": "Starting",
            "step": 0,
            "steps": steps,
            "loss": None,
            "samplesPerSecond": None,
            "dataWaitRatio": None,
            "consumed": 0,
            "skipped": 0,
            "duplicated": 0,
            "checkpoint": None,
            "resumedFrom": None,
            "seconds": None,
            "saveSeconds": None,
            "interconnect": None,
            "everySeconds": None,
            "resumed": None,
        }
        self._written = 0.0
        self._pace: list[tuple[float, int]] = []

    def say(self, **words: Any) -> None:
        """Something that must be known at once."""
        if words.get("checkpoint") and self._words["state"] != "Starting":
            self._clock.saved()
        if "state" in words:
            self._clock.turn(words["state"])
            self._beat.phase(words["state"], words.get("step", self._words["step"]))
        self._words.update(words)
        self._words["seconds"] = self._clock.seconds()
        self._words["saveSeconds"] = self.save_seconds()
        rank_state.write(self._file, self._words)
        self._written = time.monotonic()

    def stepped(
        self, step: int, samples: dict[str, int], loss: float, waiting: float | None = None
    ) -> None:
        self._beat.stepped(step)
        now, consumed = time.monotonic(), samples["consumed"]
        self._pace = [(at, n) for at, n in self._pace if now - at <= _WINDOW_SECONDS]
        self._pace.append((now, consumed))
        (first, then), (last, _) = self._pace[0], self._pace[-1]
        pace = (consumed - then) / (last - first) if last > first else None
        self._words.update(step=step, loss=f"{loss:.6g}", **samples)
        self._words["samplesPerSecond"] = None if pace is None else f"{pace:.4g}"
        self._words["dataWaitRatio"] = None if waiting is None else f"{waiting:.3f}"
        if now - self._written >= _EVERY_SECONDS:
            self.say()

    def save_seconds(self) -> float | None:
        """What saving takes, the slowest but for 5 %."""
        return self._clock.save_seconds()

    def paused(self) -> None:
        """Saving is no training: the pace starts anew."""
        self._pace = []
