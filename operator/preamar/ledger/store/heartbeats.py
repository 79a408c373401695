"""Which gateways are alive where they share a database: each says so every few seconds.

One that has been silent for a minute is taken for dead: its streams are settled at what was last
told of them and its leases end. A gateway that could not say so for half that time must therefore
use none of its leases until it could, and one that finds itself forgotten has none left.
"""

from sqlalchemy import Engine, TextClause, delete, func, insert, select, text, update

from preamar.ledger.store import sqlite
from preamar.ledger.tables.schema import gateways

BEAT_SECONDS = 5.0
FENCE_SECONDS = 30.0
DEAD_SECONDS = 60.0
_NOW = text("CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)")


def beat(engine: Engine, instance: str) -> bool:
    """Say that this gateway lives, by the database's clock. False where nobody knew it: it is new,
    or was taken for dead."""
    with engine.begin() as connection:
        found = connection.execute(
            update(gateways).where(gateways.c.instance == instance).values(seen=_NOW)
        )
        if found.rowcount:
            return True
        connection.execute(insert(gateways).values(instance=instance, seen=_NOW))
        return False


def count(engine: Engine) -> int:
    """How many gateways are alive."""
    with engine.connect() as connection:
        alive = (
            select(func.count()).select_from(gateways).where(gateways.c.seen >= _ago(DEAD_SECONDS))
        )
        return int(connection.scalar(alive) or 0)


def leave(engine: Engine, instance: str) -> None:
    """It ends in order, with nothing open."""
    with engine.begin() as connection:
        connection.execute(delete(gateways).where(gateways.c.instance == instance))


def recover(engine: Engine, own: str, dead_seconds: float = DEAD_SECONDS) -> int:
    """Settle what dead gateways left; returns the number of streams."""
    # In this order: one that begins between the two looks is alive and has left nothing.
    left = sqlite.open_instances(engine)
    with engine.begin() as connection:
        connection.execute(delete(gateways).where(gateways.c.seen < _ago(dead_seconds)))
        alive = set(connection.scalars(select(gateways.c.instance)))
    return sum(sqlite.close_instance(engine, instance) for instance in left - alive - {own})


def _ago(seconds: float) -> TextClause:
    return text(f"{_NOW.text} - {int(seconds * 1000)}")
