"""How rows get from a gateway's own disk to the database that all gateways share.

A row is durable here first, so a request does not wait for the network, and is taken along until the
database has it, however long that is away. It may arrive twice; it counts once. Rows of a stream are
sent as they change, so that others can settle it if this gateway never comes back.
"""

from collections.abc import Sequence

from sqlalchemy import Engine, delete, func, select, update

from preamar.ledger.store import sqlite
from preamar.ledger.tables.schema import requests
from preamar.ledger.tables.usage_record import State, UsageRecord

MOST_AT_ONCE = 500
MOST_ROWS = 1_000_000
"""About 300 MB. Beyond it no requests are taken, rather than filling the disk."""


class Spool:
    """Rows on their way. ``local`` is this gateway's own file."""

    def __init__(self, local: Engine) -> None:
        self._local = local
        self._sent: dict[str, tuple[int, int]] = {}

    def adopt(self) -> int:
        """Settle the streams of the life before this one, at what was last counted; returns how
        many. Nobody else writes this file."""
        with self._local.begin() as connection:
            found = connection.execute(
                update(requests)
                .where(requests.c.state == State.OPEN)
                .values(state=State.DONE, status=500)
            )
            return int(found.rowcount)

    def waiting(self) -> int:
        """How many rows the database does not have yet, running streams included."""
        with self._local.connect() as connection:
            return connection.scalar(select(func.count()).select_from(requests)) or 0

    def send(self, remote: Engine) -> int:
        """Pass on what is new, some hundreds at a time; returns how many rows that were."""
        rows = [row for row in self._next() if self._sent.get(row.id) != _mark(row)]
        if not rows:
            return 0
        sqlite.write(remote, rows)
        # Only now: whatever happens before this is done once more and changes nothing.
        ended = [row.id for row in rows if row.state == State.DONE]
        if ended:
            with self._local.begin() as connection:
                connection.execute(
                    delete(requests).where(requests.c.id.in_(ended), requests.c.state == State.DONE)
                )
        for row in rows:
            if row.state == State.DONE:
                self._sent.pop(row.id, None)
            else:
                self._sent[row.id] = _mark(row)
        return len(rows)

    def _next(self) -> Sequence[UsageRecord]:
        """Ends first: they are what callers pay."""
        query = select(requests).order_by(requests.c.state, requests.c.started).limit(MOST_AT_ONCE)
        with self._local.connect() as connection:
            return sqlite.rows_of(connection, connection.execute(query).all())


def _mark(row: UsageRecord) -> tuple[int, int]:
    return row.finished, row.output_tokens
