"""Statements that are put together once and then run as they are.

SQLAlchemy's own way to a statement costs more than the statement where it is a row at a time, and the
end of every request is one.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import ClauseElement, Connection
from sqlalchemy.exc import OperationalError

from preamar.ledger.tables.dialect import Insert

Cursor = Any


class PreparedStatement:
    """``build`` makes the statement for a connection's database; its parameters are named."""

    def __init__(self, build: Callable[[Connection], ClauseElement | Insert]) -> None:
        self._build = build
        self._known: dict[str, tuple[str, tuple[str, ...] | None]] = {}

    def run(self, connection: Connection, cursor: Cursor, values: Mapping[str, Any]) -> Cursor:
        """Run it once."""
        known = self._known.get(connection.dialect.name)
        if known is None:
            compiled: Any = self._build(connection).compile(dialect=connection.dialect)
            order = tuple(compiled.positiontup) if compiled.positional else None
            known = self._known[connection.dialect.name] = (str(compiled), order)
        text, order = known
        cursor.execute(text, values if order is None else [values[name] for name in order])
        return cursor


@contextmanager
def cursor_of(connection: Connection) -> Iterator[Cursor]:
    """A cursor in the transaction of a connection. Its errors are SQLAlchemy's."""
    dbapi = connection.dialect.loaded_dbapi
    cursor = connection.connection.cursor()
    try:
        yield cursor
    except dbapi.Error as error:
        raise OperationalError("ledger", {}, error) from error
    finally:
        cursor.close()
