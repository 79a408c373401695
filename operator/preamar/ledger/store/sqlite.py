"""Where the ledger is kept: one SQLite file in WAL mode with synchronous=FULL.

A committed row survives the end of the process and of the machine's power. Several gateways of one
node may share the file; gateways on several nodes may not.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from time import time
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import (
    Connection,
    Engine,
    create_engine,
    delete,
    event,
    literal_column,
    select,
    update,
)
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import NullPool
from sqlalchemy.sql.dml import ReturningInsert

from preamar.ledger.budgets import balances
from preamar.ledger.budgets.leases import forget
from preamar.ledger.tables.dialect import Insert, insert
from preamar.ledger.tables.migrate import migrate
from preamar.ledger.tables.prepared import PreparedStatement, cursor_of
from preamar.ledger.tables.prices import PriceList
from preamar.ledger.tables.schema import SchemaMismatch, leases, meta, prices, requests
from preamar.ledger.tables.usage_record import State, UsageRecord

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


CHANGES = ("input_tokens", "output_tokens", "accelerator_ms", "status", "state", "finished")


def write(engine: Engine, rows: Iterable[UsageRecord], *, spool: bool = False) -> None:
    """All rows in one transaction: durable when this returns, none of them when it raises. What a
    request cost is counted when its end is written for the first time; not in a ``spool``, whose
    rows are on their way to where that is done."""
    newest: dict[str, UsageRecord] = {}
    for row in rows:
        if row.id not in newest or newest[row.id].state == State.OPEN:
            newest[row.id] = row
    known = _PRICED.setdefault(engine, set())
    fresh = {row.price.version: row.price for row in newest.values()}
    with engine.begin() as connection, cursor_of(connection) as cursor:
        for version in sorted(fresh.keys() - known):
            _PRICE.run(connection, cursor, {"version": version, **asdict(fresh[version])})
        # By id, so that two gateways never wait for each other in a circle.
        settled = [
            row
            for _, row in sorted(newest.items())
            if _REQUEST.run(connection, cursor, row.values()).fetchone() and row.state == State.DONE
        ]
        if not spool:
            balances.add(connection, settled)
    known |= fresh.keys()


def _price(connection: Connection) -> Insert:
    return insert(connection, prices).on_conflict_do_nothing()


def _request(connection: Connection) -> ReturningInsert[Any]:
    statement = insert(connection, requests)
    return statement.on_conflict_do_update(
        index_elements=[requests.c.id],
        set_={name: statement.excluded[name] for name in CHANGES},
        where=requests.c.state == literal_column(f"'{State.OPEN}'"),
    ).returning(requests.c.id)


_PRICE, _REQUEST = PreparedStatement(_price), PreparedStatement(_request)
_PRICED: WeakKeyDictionary[Engine, set[str]] = WeakKeyDictionary()
"""Versions of prices that a database certainly has."""


def probe(engine: Engine) -> None:
    """Raise unless a write can be committed."""
    with engine.begin() as connection:
        connection.execute(update(meta).where(meta.c.name == "schema").values(value=meta.c.value))


def open_instances(engine: Engine) -> set[str]:
    """Gateways that left running streams or leases behind, or still have them."""
    streaming = select(requests.c.instance).where(requests.c.state == State.OPEN)
    with engine.connect() as connection:
        return set(connection.scalars(streaming.union(select(leases.c.instance))))


def close_instance(engine: Engine, instance: str) -> int:
    """Settle the streams of a gateway that died at what was last counted, and end its leases;
    returns how many streams that were."""
    with engine.begin() as connection:
        closed = connection.execute(
            update(requests)
            .where(requests.c.state == State.OPEN, requests.c.instance == instance)
            .values(state=State.DONE, status=500)
            .returning(requests)
        ).all()
        balances.add(connection, rows_of(connection, closed))
        forget(connection, [instance])
        return len(closed)


def rows_of(connection: Connection, found: Sequence[Any]) -> list[UsageRecord]:
    """Rows as they were read, with their prices."""
    if not found:
        return []
    known = {row.version: PriceList(*row[1:]) for row in connection.execute(select(prices))}
    return [UsageRecord.of(row, known[row.price]) for row in found]


def prune(engine: Engine, keep_days: int) -> int:
    """Forget requests older than that, a bounded number at a time; returns how many."""
    before = int((time() - keep_days * 86400) * 1000)
    old = select(requests.c.id).where(requests.c.started < before).limit(PRUNED_AT_ONCE)
    with engine.begin() as connection:
        gone = connection.execute(delete(requests).where(requests.c.id.in_(old)))
        return int(gone.rowcount)
