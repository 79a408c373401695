"""Where a gateway keeps its ledger: one file for all gateways of a node, or a database for many.

On one node the file is everything. With a database, the file is only the gateway's own spool: rows
are durable there first and are counted in the database, which need not be reachable for that.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from preamar.ledger.budgets import leases
from preamar.ledger.store.file_lock import FileLock, journal_of, recover, take_up
from preamar.ledger.store.journal import Journal
from preamar.ledger.store.postgres import open_postgres
from preamar.ledger.store.shipper import Shipper
from preamar.ledger.store.sqlite import StoreUnusable, open_store
from preamar.ledger.store.writer import Writer

log = logging.getLogger(__name__)


class Backend(Protocol):
    """``engine`` is where money and keys are; ``keys_cache`` a copy of the keys that can be read
    while that is away, or None."""

    engine: Engine
    keys_cache: Engine | None
    writer: Writer

    @property
    def healthy(self) -> bool:
        """Whether the end of a request can be recorded."""

    @property
    def fresh(self) -> bool:
        """Whether leases of this gateway certainly hold."""

    @property
    def reachable(self) -> bool:
        """Whether it makes sense to ask for more."""

    @property
    def gateways(self) -> int:
        """How many gateways share this ledger, this one included; at least 1."""

    def start(self) -> None:
        """Begin to take rows."""

    def stop(self, timeout: float) -> bool:
        """Write what is waiting and give all leases back. False if rows could not be written within
        ``timeout`` seconds."""


class OneFile:
    """Raises ``SchemaMismatch`` or ``StoreUnusable`` with a sentence."""

    fresh = reachable = True
    gateways = 1

    def __init__(self, path: Path, instance: str, keep_days: int) -> None:
        self.engine = open_store(path)
        self.keys_cache: Engine | None = None
        self._instance = instance
        locks = path.parent / "gateways"
        self._alive = FileLock(locks, instance)
        if settled := recover(self.engine, locks, instance):
            log.warning("%d streams of a gateway that died were settled", settled)
        self.writer = Writer(self.engine, _journal(locks, instance), keep_days)

    @property
    def healthy(self) -> bool:
        return self.writer.healthy

    def start(self) -> None:
        self.writer.start()

    def stop(self, timeout: float) -> bool:
        written = self.writer.stop(timeout)
        _end_leases(self.engine, self._instance)
        self._alive.release()
        self.engine.dispose()
        return written


class Shared:
    """``forgotten`` is called, from another thread, when others took this gateway for dead. Raises
    ``SchemaMismatch`` or ``StoreUnusable`` with a sentence; not when the database is away."""

    def __init__(
        self,
        path: Path,
        url: str,
        instance: str,
        keep_days: int,
        forgotten: Callable[[], None],
    ) -> None:
        self._local = open_store(path)
        self.keys_cache: Engine | None = self._local
        self.engine = open_postgres(url)
        self._instance = instance
        locks = path.parent / "gateways"
        self._alive = FileLock(locks, "spool")
        take_up(self._local, journal_of(locks, "spool"), spool=True)
        self.writer = Writer(self._local, _journal(locks, "spool"), spool=True)
        self.shipper = Shipper(self._local, self.engine, instance, keep_days, forgotten)

    @property
    def healthy(self) -> bool:
        return self.writer.healthy and self.shipper.healthy

    @property
    def fresh(self) -> bool:
        return self.shipper.fresh

    @property
    def reachable(self) -> bool:
        return self.shipper.reached is not False

    @property
    def gateways(self) -> int:
        return self.shipper.gateways

    def start(self) -> None:
        self.writer.start()
        self.shipper.start()

    def stop(self, timeout: float) -> bool:
        written = self.writer.stop(timeout)
        _end_leases(self.engine, self._instance)
        if not self.shipper.stop(timeout):
            log.warning("some requests are not in the database yet; they stay on this disk")
        self._alive.release()
        self.engine.dispose()
        self._local.dispose()
        return written


def _journal(folder: Path, instance: str) -> Journal:
    try:
        return Journal(journal_of(folder, instance))
    except OSError as error:
        raise StoreUnusable(f"The ledger's folder {folder} cannot be written: {error}.") from error


def _end_leases(engine: Engine, instance: str) -> None:
    try:
        leases.end(engine, instance)
    except SQLAlchemyError as error:
        log.warning("leases could not be given back: %s", getattr(error, "orig", error))
