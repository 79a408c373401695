"""Alembic runs this. The connection, and the transaction that all of it is in, are the caller's."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    # Alembic takes SQLite for a database that commits with each change of a table; ours does not.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
