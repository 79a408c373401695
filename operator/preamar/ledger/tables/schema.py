"""What the ledger remembers: keys, one row for each request, and what of a budget is spent or leased.

The id of a request is unique for ever and stands in the same table as the fact, so that writing it
twice changes nothing. Times are integer milliseconds since 1970. A request names the price that it
was asked at, so that what it costs can be counted again at any time. `migrations` makes the tables.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

from preamar.ledger.tables import amounts
from preamar.ledger.tables.prices import FREE

BEFORE_ALEMBIC = 1
"""The schema of databases that do not say how far they were migrated."""

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
    Column("scope", Text, nullable=False, server_default="{}"),
    Column("older_digest", LargeBinary(32)),
    Column("older_until", BigInteger),
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
    Column("price", String(12), nullable=False, server_default=FREE.version),
    Column("reserved", Text, nullable=False, server_default=""),
    Column("accelerator_ms", BigInteger, nullable=False, server_default="0"),
    Index("requests_by_time", "kind", "started"),
    Index("requests_by_state", "state"),
)

prices = Table(
    "prices",
    metadata,
    Column("version", String(12), primary_key=True),
    Column("currency", String(3), nullable=False),
    Column("million_input_tokens", BigInteger, nullable=False),
    Column("million_output_tokens", BigInteger, nullable=False),
    Column("request", BigInteger, nullable=False),
    Column("accelerator_second", BigInteger, nullable=False),
)


def _allowance() -> tuple[Column[str], ...]:
    """Whose, of what, and in which period."""
    return (
        Column("owner", String(80), primary_key=True),
        Column("unit", String(12), primary_key=True),
        Column("period", String(16), primary_key=True),
    )


gateways = Table(
    "gateways",
    metadata,
    Column("instance", String(64), primary_key=True),
    Column("seen", BigInteger, nullable=False),
)

balances = Table(
    "balances",
    metadata,
    *_allowance(),
    *amounts.columns(),
)

leases = Table(
    "leases",
    metadata,
    *_allowance(),
    Column("instance", String(64), primary_key=True),
    *amounts.columns(),
    Index("leases_by_instance", "instance"),
)


class SchemaMismatch(Exception):
    """The database was written by another version; the sentence says what to do."""
