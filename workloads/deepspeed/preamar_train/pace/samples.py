"""Was every sample trained on exactly once?

Each rank marks which samples of a step it took; the marks are added over ranks together with the
step's other numbers, and each sample must have been marked once. The totals go into every
checkpoint's manifest and go on from there: steps after it that are trained again are no
duplicates, because the state they produced was thrown away.
"""

from collections.abc import Iterable, Sequence

import numpy as np


class SampleLedger:
    def __init__(
        self, global_batch: int, consumed: int = 0, skipped: int = 0, duplicated: int = 0
    ) -> None:
        self._batch = global_batch
        self.consumed, self.skipped, self.duplicated = consumed, skipped, duplicated

    def marks(self, step: int, taken: Iterable[range]) -> np.ndarray:
        """How often this rank took each sample of the step after `step` finished ones [batch],
        and then how many it took that belong to no such step [1]."""
        marks = np.zeros(self._batch + 1)
        first = step * self._batch
        for samples in taken:
            for sample in samples:
                place = sample - first
                marks[place if 0 <= place < self._batch else self._batch] += 1
        return marks

    def book(self, marks: Sequence[float]) -> None:
        """The marks of one finished step, added over all ranks."""
        times = np.rint(np.asarray(marks[: self._batch]))
        self.consumed += int((times > 0).sum())
        self.skipped += int((times == 0).sum())
        self.duplicated += int(np.maximum(times - 1, 0).sum() + round(marks[self._batch]))

    def words(self) -> dict[str, int]:
        return {
            "consumed": self.consumed,
            "skipped": self.skipped,
            "duplicated": self.duplicated,
        }
