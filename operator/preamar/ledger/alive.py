"""Which gateways on this file are alive: each holds a lock on a small file of its own.

The lock ends with the process however it ends, so open rows of a gateway whose lock can be taken
are settled at what was last counted, and a live neighbour's streams are left alone.
"""

import fcntl
import os
from pathlib import Path

from sqlalchemy import Engine

from preamar.ledger import store


class Alive:
    """Holding this says that ``instance`` runs."""

    def __init__(self, folder: Path, instance: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{instance}.lock"
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def release(self) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self._file)


def recover(engine: Engine, folder: Path, own: str) -> int:
    """Settle what dead gateways left open; returns the number of requests."""
    settled = 0
    for instance in store.open_instances(engine) - {own}:
        path = folder / f"{instance}.lock"
        if _lives(path):
            continue
        settled += store.close_instance(engine, instance)
        path.unlink(missing_ok=True)
    return settled


def _lives(path: Path) -> bool:
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False
