"""The loss of every step, kept beside the checkpoints: ``losses.csv``, one row a step.

Rank 0 appends; at a resume all rows after the checkpoint's step go, so a step that was thrown away
and trained again is there once. Rows are durable before a checkpoint of their step exists. Long
runs keep every n-th step, so that the file stays below ``MOST_ROWS``. What cannot be written is
told once: a curve is not worth a training run.
"""

import os
import time
from pathlib import Path

NAME = "losses.csv"
HEAD = "step,loss,time,ranks,attempt\n"
MOST_ROWS = 100_000


class Losses:
    """``folder`` is where checkpoints are, ``step`` the last one that counts. None: not rank 0."""

    def __init__(
        self, folder: Path | None, step: int, steps: int, ranks: int, attempt: int
    ) -> None:
        self._every = -(-steps // MOST_ROWS)
        self._last, self._end = steps, f"{ranks},{attempt}\n"
        self._stream = None
        if folder is not None:
            self._try(lambda: self._open(folder / NAME, step))

    def add(self, step: int, loss: float) -> None:
        if self._stream and (step % self._every == 0 or step == self._last):
            row = f"{step},{loss:.9g},{time.time():.3f},{self._end}"
            self._try(lambda: self._stream.write(row))

    def sync(self) -> None:
        """Before a checkpoint says that these steps count."""
        if self._stream:
            self._try(self._flush)

    def close(self) -> None:
        self.sync()
        if self._stream:
            self._stream.close()
            self._stream = None

    def _open(self, file: Path, step: int) -> None:
        kept = [HEAD, *(row for row in _rows(file) if int(row.partition(",")[0]) <= step)]
        temporary = file.with_name(f".{NAME}.new")
        with temporary.open("w") as stream:
            stream.writelines(kept)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
        # Line by line: whoever reads it meanwhile sees whole rows.
        self._stream = file.open("a", buffering=1)

    def _flush(self) -> None:
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def _try(self, act) -> None:
        try:
            act()
        except OSError as error:
            print(f"losses are not recorded any more: {error}", flush=True)
            self._stream = None


def _rows(file: Path) -> list[str]:
    """Whole rows; the last may have been cut by a crash."""
    try:
        lines = file.read_text(errors="replace").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    return [row for row in lines if row.endswith("\n") and row.partition(",")[0].isdecimal()]
