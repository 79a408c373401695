"""What the ledger remembers: keys, and one row for each request.

The id of a request is unique for ever and stands in the same table as the fact, so that writing it
twice changes nothing. Times are integer milliseconds since 1970; money is not here yet.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    inspect,
    select,
)
from sqlalchemy.dialects.sqlite import insert

VERSION = 1

metadata = MetaData()

meta = Table(
    "meta",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(8), primary_key=True),
    Column("tenant", String(63), nullable=False, index=True),
    Column("digest", LargeBinary(32), nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("revoked", BigInteger),
)

requests = Table(
    "requests",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("tenant", String(63), nullable=False),
    Column("key_id", String(8), nullable=False),
    Column("model", String(256), nullable=False),
    Column("endpoint", String(32), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("status", Integer, nullable=False),
    Column("state", String(4), nullable=False),
    Column("instance", String(64), nullable=False),
    Column("started", BigInteger, nullable=False),
    Column("finished", BigInteger, nullable=False),
    Index("requests_by_time", "kind", "started"),
    Index("requests_by_state", "state"),
)


class SchemaMismatch(Exception):
    """The database was written by another version; the sentence says what to do."""


def prepare(connection: Connection) -> None:
    """Make the tables in an empty database; refuse one of another version."""
    names = set(inspect(connection).get_table_names())
    if not names:
        metadata.create_all(connection)
        rows = [{"name": "schema", "value": VERSION}, {"name": "keys", "value": 0}]
        connection.execute(insert(meta).on_conflict_do_nothing(), rows)
        return
    found = None
    if "meta" in names:
        found = connection.scalar(select(meta.c.value).where(meta.c.name == "schema"))
    if found != VERSION:
        what = "is no ledger of ours" if found is None else f"has schema {found}"
        raise SchemaMismatch(
            f"The database {what}, and this version reads schema {VERSION}. "
            "Run the version that wrote it, or name another file with --ledger."
        )
