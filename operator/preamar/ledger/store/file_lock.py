"""Which gateways on this file are alive: each holds a lock on a small file of its own.

The lock ends with the process however it ends, so what a gateway has left in its journal whose lock can
be taken is taken up, its open rows are settled at what was last counted, and a live neighbour's streams
are left alone.
"""

import fcntl
import os
from pathlib import Path

from sqlalchemy import Engine

from preamar.ledger.store import sqlite
from preamar.ledger.store.journal import read


class FileLock:
    """Holding this says that ``instance`` runs."""

    def __init__(self, folder: Path, instance: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{instance}.lock"
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def release(self) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self._file)


def journal_of(folder: Path, instance: str) -> Path:
    """Where a gateway's journal is."""
    return folder / f"{instance}.journal"


def recover(engine: Engine, folder: Path, own: str) -> int:
    """Settle what dead gateways left open; returns the number of requests."""
    settled = 0
    left = {path.stem for path in folder.glob("*.journal")}
    for instance in (left | sqlite.open_instances(engine)) - {own}:
        path = folder / f"{instance}.lock"
        if _lives(path):
            continue
        take_up(engine, journal_of(folder, instance))
        settled += sqlite.close_instance(engine, instance)
        path.unlink(missing_ok=True)
    return settled


def take_up(engine: Engine, journal: Path, *, spool: bool = False) -> None:
    """Take what a writer that is gone has left in its journal to the database."""
    rows = read(journal)
    if rows:
        sqlite.write(engine, rows, spool=spool)
    journal.unlink(missing_ok=True)


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
