"""Where the ledger of several gateways is kept: a PostgreSQL database.

Its answers have deadlines, and a connection that is dead is noticed within seconds. Tables are made
by whichever gateway comes first, the others waiting for it.
"""

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from preamar.ledger.store.sqlite import StoreUnusable
from preamar.ledger.tables.migrate import migrate

CONNECT_SECONDS = 5
STATEMENT_MILLISECONDS = 10_000
MIGRATION_LOCK = 7_236_194_402_118_345


def open_postgres(url: str) -> Engine:
    """An engine; no connection is made yet. Raises ``StoreUnusable`` with a sentence that does not
    show the URL, which may hold a password."""
    try:
        found = make_url(url.strip())
    except (ArgumentError, ValueError):
        raise StoreUnusable("The ledger's URL cannot be understood.") from None
    if found.get_backend_name() != "postgresql":
        raise StoreUnusable("The ledger's URL must begin with postgresql://.")
    return create_engine(
        found.set(drivername="postgresql+psycopg"),
        pool_size=4,
        max_overflow=4,
        pool_timeout=10,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "application_name": "preamar-gateway",
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": STATEMENT_MILLISECONDS,
            "options": f"-c statement_timeout={STATEMENT_MILLISECONDS} "
            f"-c lock_timeout={STATEMENT_MILLISECONDS} "
            f"-c idle_in_transaction_session_timeout={2 * STATEMENT_MILLISECONDS}",
        },
    )


def prepare(engine: Engine) -> None:
    """Make or change the tables. Raises ``SchemaMismatch``, or ``SQLAlchemyError`` where the
    database cannot be reached."""
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL lock_timeout = 0"))
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
        migrate(connection)
