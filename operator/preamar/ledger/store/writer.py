"""How requests become durable without slowing each other: one thread, one sync for many.

While a sync runs, the next rows gather; each caller learns when its own row is in the journal. A few
times a second the rows of the journal go to the database together, where they count. A disk that
fails is tried again until it works; meanwhile ``healthy`` is False and nothing is forgotten that was
not withdrawn.
"""

import logging
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread
from time import monotonic, sleep

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from preamar.ledger.store import sqlite
from preamar.ledger.store.journal import Journal
from preamar.ledger.tables.usage_record import UsageRecord

log = logging.getLogger(__name__)

MOST_AT_ONCE = 500
MOST_PENDING = 20_000
APPLY_SECONDS = 0.25
RETRY_SECONDS = 0.25
PRUNE_SECONDS = 3600.0
FLUSH_SECONDS = 5.0


class LedgerUnavailable(Exception):
    """The row could not be written, and will not be."""


class Entry:
    """A row on its way to disk. ``done`` is called once, from the writer's thread."""

    __slots__ = ("done", "row", "state")

    def __init__(self, row: UsageRecord, done: Callable[[], None] | None) -> None:
        self.row = row
        self.done = done
        self.state = "waiting"


class Writer:
    """``submit`` from any thread; ``stop`` flushes. Into a ``spool``, rows are on their way to where
    their cost is counted and where they are kept."""

    def __init__(
        self, engine: Engine, journal: Journal, keep_days: int = 400, *, spool: bool = False
    ) -> None:
        self.healthy = True
        self._engine = engine
        self._journal = journal
        self._keep_days = keep_days
        self._spool = spool
        self._queue: SimpleQueue[Entry | Event | None] = SimpleQueue()
        self._lock = Lock()
        self._stopping = False
        self._gathered: list[Entry] = []
        self._flushes: list[Event] = []
        self._unapplied: list[UsageRecord] = []
        self._apply_at = 0.0
        self._pruned_at = monotonic()
        self._thread = Thread(target=self._run, name="ledger-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, row: UsageRecord, done: Callable[[], None] | None = None) -> Entry:
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

    def flush(self) -> None:
        """Wait until what was submitted before is in the database, or that has taken too long."""
        if self._thread.is_alive() and not self._stopping:
            event = Event()
            self._queue.put(event)
            event.wait(FLUSH_SECONDS)

    def stop(self, timeout: float) -> bool:
        """Write what is waiting and end; False if that took longer than ``timeout`` seconds."""
        self._stopping = True
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout)
        ended = not self._thread.is_alive()
        if ended and not self._unapplied:
            self._journal.remove()
        return ended

    def _run(self) -> None:
        ended = False
        while not (ended and not self._gathered and not self._unapplied):
            ended = self._gather(ended) or ended
            batch = self._claim()
            try:
                if batch:
                    self._append(batch)
                self._apply(at_once=ended)
                if not self.healthy and not batch:
                    sqlite.probe(self._engine)
                self._tidy()
            except (SQLAlchemyError, OSError) as error:
                self._failed(batch, error)
                continue
            self.healthy = True

    def _append(self, batch: list[Entry]) -> None:
        rows = [entry.row for entry in batch]
        self._journal.append(rows)
        if not self._unapplied:
            self._apply_at = monotonic() + APPLY_SECONDS
        self._unapplied += rows
        for entry in batch:
            entry.state = "done"
            if entry.done:
                entry.done()

    def _apply(self, *, at_once: bool) -> None:
        """Take what is in the journal to the database, where it is time."""
        due = at_once or bool(self._flushes) or self._journal.full
        if self._unapplied and (due or monotonic() >= self._apply_at):
            while self._unapplied:
                sqlite.write(self._engine, self._unapplied[:MOST_AT_ONCE], spool=self._spool)
                del self._unapplied[:MOST_AT_ONCE]
            self._journal.begin_anew()
        if not self._unapplied:
            for event in self._flushes:
                event.set()
            self._flushes.clear()

    def _gather(self, ended: bool) -> bool:
        """Wait for work and take what is there; True once the end was announced."""
        try:
            idle = not ended and not self._gathered
            if idle and self._take(self._queue.get(timeout=self._patience())):
                return True
            while len(self._gathered) < MOST_AT_ONCE:
                if self._take(self._queue.get_nowait()):
                    return True
        except Empty:
            pass
        return False

    def _take(self, entry: Entry | Event | None) -> bool:
        if isinstance(entry, Entry):
            self._gathered.append(entry)
        elif entry is not None:
            self._flushes.append(entry)
        return entry is None

    def _patience(self) -> float:
        """Seconds until there is something to do without new rows."""
        if not self.healthy:
            return RETRY_SECONDS
        if self._unapplied:
            return max(0.0, self._apply_at - monotonic())
        return PRUNE_SECONDS

    def _claim(self) -> list[Entry]:
        with self._lock:
            batch = [entry for entry in self._gathered if entry.state == "waiting"]
            for entry in batch:
                entry.state = "writing"
            self._gathered = []
        return batch

    def _failed(self, batch: list[Entry], error: Exception) -> None:
        if self.healthy:
            log.error("the ledger cannot be written: %s", getattr(error, "orig", error))
        self.healthy = False
        with self._lock:
            # Those that are in the journal already are safe, and their callers know it.
            again = [entry for entry in batch if entry.state == "writing"]
            for entry in again:
                entry.state = "waiting"
            self._gathered = again
        # Rows stay in order and are tried again; a sleeping thread holds nobody up.
        sleep(RETRY_SECONDS)

    def _tidy(self) -> None:
        if self._spool or monotonic() - self._pruned_at < PRUNE_SECONDS:
            return
        self._pruned_at = monotonic()
        sqlite.prune(self._engine, self._keep_days)
