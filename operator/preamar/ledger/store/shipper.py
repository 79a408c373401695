"""A thread that keeps a gateway and the shared database together: rows, signs of life, the dead.

It never gives up: while the database is away it tries again, and nothing is lost.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Thread
from time import monotonic

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from preamar.ledger.store import heartbeats, postgres, sqlite
from preamar.ledger.store.spool import MOST_ROWS, Spool
from preamar.ledger.tables.schema import SchemaMismatch

log = logging.getLogger(__name__)
PAUSE_SECONDS = 0.05
RETRY_SECONDS = 0.5
RECOVER_SECONDS = 15.0
COUNT_SECONDS = 5.0
PRUNE_SECONDS = 3600.0


class Shipper:
    """``forgotten`` is called, from its thread, when this gateway was taken for dead."""

    def __init__(
        self,
        local: Engine,
        remote: Engine,
        instance: str,
        keep_days: int,
        forgotten: Callable[[], None],
    ) -> None:
        self.waiting = 0
        self.gateways = 1
        """That share the database, as last counted."""
        self.reached: bool | None = None
        """Whether the database answers; None before the first try."""
        self._spool = Spool(local)
        self._remote = remote
        self._instance = instance
        self._keep_days = keep_days
        self._forgotten = forgotten
        self._prepared = False
        self._beat_at: float | None = None
        self._known = False
        self._at = dict.fromkeys(("beat", "recover", "count", "prune"), 0.0)
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="ledger-shipper", daemon=True)

    def start(self) -> None:
        if settled := self._spool.adopt():
            log.warning("%d streams of the life before were settled", settled)
        self._thread.start()

    @property
    def healthy(self) -> bool:
        """Whether there is room for more rows."""
        return self.waiting < MOST_ROWS

    @property
    def fresh(self) -> bool:
        """Whether leases hold: nobody can have taken this gateway for dead."""
        at = self._beat_at
        return at is not None and monotonic() - at < heartbeats.FENCE_SECONDS

    def stop(self, timeout: float) -> bool:
        """Send what is waiting and say goodbye; False if that took longer than ``timeout`` seconds.
        What is left is sent by the next life on this disk."""
        self._stopping.set()
        self._thread.join(timeout)
        return not self._thread.is_alive() and not self.waiting

    def _run(self) -> None:
        while True:
            last = self._stopping.is_set()
            sent = self._tried()
            if last and not sent:
                self._goodbye()
                return
            if not last:
                self._stopping.wait(0 if sent else PAUSE_SECONDS if self.reached else RETRY_SECONDS)

    def _tried(self) -> int:
        """One pass; 0 rows where it failed, whatever failed: nobody else would take them along."""
        try:
            sent = self._pass()
        except (SQLAlchemyError, SchemaMismatch) as error:
            if self.reached is not False:
                log.error("the ledger's database is away: %s", getattr(error, "orig", error))  # noqa: TRY400
        except Exception:
            log.exception("rows could not be passed on")
        else:
            self.reached = True
            return sent
        self.reached = False
        with suppress(SQLAlchemyError):
            self._count()
        return 0

    def _goodbye(self) -> None:
        with suppress(SQLAlchemyError):
            self.waiting = self._spool.waiting()
            heartbeats.leave(self._remote, self._instance)

    def _pass(self) -> int:
        if not self._prepared:
            postgres.prepare(self._remote)
            self._prepared = True
        if self._due("beat", heartbeats.BEAT_SECONDS):
            began = monotonic()
            if not heartbeats.beat(self._remote, self._instance) and self._known:
                log.warning("this gateway was taken for dead: its leases have ended")
                self._forgotten()
            self._known, self._beat_at = True, began
            self.gateways = max(1, heartbeats.count(self._remote))
        sent = self._spool.send(self._remote)
        if self._due("recover", RECOVER_SECONDS):
            settled = heartbeats.recover(self._remote, self._instance)
            if settled:
                log.warning("%d streams of gateways that died were settled", settled)
        if self._due("prune", PRUNE_SECONDS):
            sqlite.prune(self._remote, self._keep_days)
        self._count()
        return sent

    def _count(self) -> None:
        if self._due("count", COUNT_SECONDS):
            self.waiting = self._spool.waiting()

    def _due(self, what: str, every: float) -> bool:
        now = monotonic()
        if now - self._at[what] < every and self._at[what]:
            return False
        self._at[what] = now
        return True
