"""How requests become durable without slowing each other: one thread, one commit for many.

While a commit runs, the next rows gather; each caller learns when its own row is on disk. A store
that fails is tried again until it works; meanwhile ``healthy`` is False and nothing is forgotten
that was not withdrawn.
"""

import logging
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from time import monotonic, sleep

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from preamar.ledger import store
from preamar.ledger.rows import Row

log = logging.getLogger(__name__)

MOST_AT_ONCE = 500
MOST_PENDING = 20_000
RETRY_SECONDS = 0.25
PRUNE_SECONDS = 3600.0


class LedgerUnavailable(Exception):
    """The row could not be written, and will not be."""


class Entry:
    """A row on its way to disk. ``done`` is called once, from the writer's thread."""

    __slots__ = ("done", "row", "state")

    def __init__(self, row: Row, done: Callable[[], None] | None) -> None:
        self.row = row
        self.done = done
        self.state = "waiting"


class Writer:
    """``submit`` from any thread; ``stop`` flushes. Into a ``spool``, rows are on their way to where
    their cost is counted and where they are kept."""

    def __init__(self, engine: Engine, keep_days: int = 400, *, spool: bool = False) -> None:
        self.healthy = True
        self._engine = engine
        self._keep_days = keep_days
        self._spool = spool
        self._queue: SimpleQueue[Entry | None] = SimpleQueue()
        self._lock = Lock()
        self._stopping = False
        self._gathered: list[Entry] = []
        self._pruned_at = monotonic()
        self._thread = Thread(target=self._run, name="ledger-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, row: Row, done: Callable[[], None] | None = None) -> Entry:
        """Write a row soon. Raises ``LedgerUnavailable`` when too many are waiting."""
        if self._queue.qsize() >= MOST_PENDING or self._stopping:
            raise LedgerUnavailable
        entry = Entry(row, done)
        self._queue.put(entry)
        return entry

    def withdraw(self, entry: Entry) -> bool:
        """Take a row back that is not being written right now; False: too late."""
        with self._lock:
            if entry.state != "waiting":
                return False
            entry.state = "withdrawn"
            return True

    def stop(self, timeout: float) -> bool:
        """Write what is waiting and end; False if that took longer than ``timeout`` seconds."""
        self._stopping = True
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        ended = False
        while not (ended and not self._gathered):
            ended = self._gather(ended) or ended
            batch = self._claim()
            try:
                if batch:
                    rows = [entry.row for entry in batch]
                    store.write(self._engine, rows, spool=self._spool)
                elif not self.healthy:
                    store.probe(self._engine)
                self._tidy()
            except SQLAlchemyError as error:
                self._failed(batch, error)
                continue
            self.healthy = True
            for entry in batch:
                entry.state = "done"
                if entry.done:
                    entry.done()

    def _gather(self, ended: bool) -> bool:
        """Wait for work and take what is there; True once the end was announced."""
        try:
            if not ended and not self._gathered:
                entry = self._queue.get(timeout=PRUNE_SECONDS if self.healthy else RETRY_SECONDS)
                if entry is None:
                    return True
                self._gathered.append(entry)
            while len(self._gathered) < MOST_AT_ONCE:
                entry = self._queue.get_nowait()
                if entry is None:
                    return True
                self._gathered.append(entry)
        except Empty:
            pass
        return False

    def _claim(self) -> list[Entry]:
        with self._lock:
            batch = [entry for entry in self._gathered if entry.state == "waiting"]
            for entry in batch:
                entry.state = "writing"
            self._gathered = []
        return batch

    def _failed(self, batch: list[Entry], error: SQLAlchemyError) -> None:
        if self.healthy:
            log.error("the ledger cannot be written: %s", getattr(error, "orig", error))
        self.healthy = False
        with self._lock:
            for entry in batch:
                entry.state = "waiting"
            self._gathered = batch
        # Rows stay in order and are tried again; a sleeping thread holds nobody up.
        sleep(RETRY_SECONDS)

    def _tidy(self) -> None:
        if self._spool or monotonic() - self._pruned_at < PRUNE_SECONDS:
            return
        self._pruned_at = monotonic()
        store.prune(self._engine, self._keep_days)
