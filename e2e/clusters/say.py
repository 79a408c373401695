"""How a long piece of work keeps its reader informed.

Each step prints its title when it starts, a sign of life while it lasts and its time when it is done.
A failure that the reader can mend is a ``TroubleError``: one sentence of what is wrong, one of what to do.
"""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

BEGAN = time.monotonic()
EVERY = 10.0


class TroubleError(Exception):
    """Something the reader can mend; the message says how."""


def say(text: str) -> None:
    """One line with the seconds since the command began."""
    print(f"[{time.monotonic() - BEGAN:5.0f} s] {text}", file=sys.stderr, flush=True)


@contextmanager
def step(title: str) -> Iterator[None]:
    """Say that ``title`` began, that it goes on, and how long it took when that was over a second."""
    start = time.monotonic()
    done = threading.Event()

    def tick() -> None:
        while not done.wait(EVERY):
            say(f"{title} … {time.monotonic() - start:.0f} s")

    say(title)
    threading.Thread(target=tick, daemon=True).start()
    try:
        yield
    except BaseException:
        done.set()
        say(f"{title}: failed after {time.monotonic() - start:.1f} s")
        raise
    done.set()
    took = time.monotonic() - start
    if took > 1:
        say(f"{title}: done in {took:.1f} s")
