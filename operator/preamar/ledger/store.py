"""Where the ledger is kept: one SQLite file in WAL mode with synchronous=FULL.

A committed row survives the end of the process and of the machine's power. Several gateways of one
node may share the file; gateways on several nodes may not.
"""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from time import time
from typing import Any

from sqlalchemy import Engine, create_engine, delete, event, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import NullPool

from preamar.ledger.migrate import migrate
from preamar.ledger.rows import Row, State
from preamar.ledger.schema import SchemaMismatch, meta, prices, requests

BUSY_MILLISECONDS = 5000
PRUNED_AT_ONCE = 5000


class StoreUnusable(Exception):
    """The file cannot be opened or is no database."""


def open_store(path: Path) -> Engine:
    """An engine on the ledger's file, made if missing. Raises ``SchemaMismatch`` or
    ``StoreUnusable`` with a sentence for the operator of the gateway."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(f"sqlite:///{path}", pool_size=4, max_overflow=4, pool_timeout=10)
        event.listen(engine, "connect", _durable)
        _migrated(path)
    except SchemaMismatch:
        raise
    except (OSError, OperationalError, DatabaseError) as error:
        cause = getattr(error, "orig", None) or error
        raise StoreUnusable(f"The ledger {path} cannot be opened: {cause}.") from error
    return engine


def _migrated(path: Path) -> None:
    """On a connection of its own: the driver begins no transaction before it changes tables, and a
    gateway killed between two of them would leave a database that no version knows."""
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
    event.listen(engine, "connect", _durable)
    event.listen(engine, "begin", _alone)
    with engine.begin() as connection:
        migrate(connection)


def _alone(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _durable(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


_UPSERT = insert(requests)
_UPSERT = _UPSERT.on_conflict_do_update(
    index_elements=[requests.c.id],
    set_={
        name: _UPSERT.excluded[name]
        for name in ("input_tokens", "output_tokens", "status", "state", "finished")
    },
    where=requests.c.state == State.OPEN,
)

_PRICES = insert(prices).on_conflict_do_nothing()


def write(engine: Engine, rows: Iterable[Row]) -> None:
    """All rows in one transaction: durable when this returns, none of them when it raises."""
    rows = list(rows)
    used = {row.price.version: {"version": row.price.version, **asdict(row.price)} for row in rows}
    with engine.begin() as connection:
        connection.execute(_PRICES, list(used.values()))
        connection.execute(_UPSERT, [row.values() for row in rows])


def probe(engine: Engine) -> None:
    """Raise unless a write can be committed."""
    with engine.begin() as connection:
        connection.execute(update(meta).where(meta.c.name == "schema").values(value=meta.c.value))


def open_instances(engine: Engine) -> set[str]:
    """Gateways that left running streams behind, or still have them."""
    with engine.connect() as connection:
        query = select(requests.c.instance).where(requests.c.state == State.OPEN).distinct()
        return set(connection.scalars(query))


def close_instance(engine: Engine, instance: str) -> int:
    """Settle the streams of a gateway that died at what was last counted; returns how many."""
    with engine.begin() as connection:
        done = connection.execute(
            update(requests)
            .where(requests.c.state == State.OPEN, requests.c.instance == instance)
            .values(state=State.DONE, status=500)
        )
        return int(done.rowcount)


def prune(engine: Engine, keep_days: int) -> int:
    """Forget requests older than that, a bounded number at a time; returns how many."""
    before = int((time() - keep_days * 86400) * 1000)
    old = select(requests.c.id).where(requests.c.started < before).limit(PRUNED_AT_ONCE)
    with engine.begin() as connection:
        gone = connection.execute(delete(requests).where(requests.c.id.in_(old)))
        return int(gone.rowcount)
