"""Brings a database to this version's schema, all or nothing, one gateway at a time."""

from pathlib import Path
from threading import Lock

from alembic import command
from alembic.config import Config
from alembic.script.revision import RevisionError
from alembic.util import CommandError
from sqlalchemy import Connection, inspect, select

from preamar.ledger.tables.schema import BEFORE_ALEMBIC, SchemaMismatch, meta

_ONE_AT_A_TIME = Lock()
"""Alembic keeps what it is doing in a module of its own: two threads would share it."""


def migrate(connection: Connection) -> None:
    """Make the tables in an empty database, or what an older version lacks. In the transaction of
    the caller. Raises ``SchemaMismatch`` for a database of a newer version or of somebody else."""
    with _ONE_AT_A_TIME:
        _migrate(connection)


def _migrate(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[1] / "migrations"))
    config.attributes["connection"] = connection
    names = set(inspect(connection).get_table_names())
    try:
        if names and "alembic_version" not in names:
            if "meta" not in names or _schema(connection) != BEFORE_ALEMBIC:
                raise SchemaMismatch("The database is no ledger of ours: name another file.")
            command.stamp(config, "0001")
        command.upgrade(config, "head")
    except (CommandError, RevisionError) as error:
        raise SchemaMismatch(
            f"The database was written by a newer version of Preamar ({error}). "
            "Run that version, or name another file with --ledger."
        ) from error


def _schema(connection: Connection) -> int | None:
    return connection.scalar(select(meta.c.value).where(meta.c.name == "schema"))
