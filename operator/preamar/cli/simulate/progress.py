"""Is it still at work? Says so on stderr, from the fifth second on and every five seconds."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

EVERY_SECONDS = 5.0


class ProgressPrinter:
    """What is being done now; set by the work, told by a thread beside it."""

    def __init__(self) -> None:
        self.doing = ""


@contextmanager
def progress(what: str) -> Iterator[ProgressPrinter]:
    """Tell on stderr what ``doing`` says, as long as the block lasts."""
    told, done, begin = ProgressPrinter(), threading.Event(), time.monotonic()

    def tell() -> None:
        while not done.wait(EVERY_SECONDS):
            seconds = time.monotonic() - begin
            sys.stderr.write(f"{what}: {told.doing}, {seconds:.0f} s so far\n")
            sys.stderr.flush()

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield told
    finally:
        done.set()
        thread.join()
