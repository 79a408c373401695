"""What each request had of accelerators. Earlier ones were not charged for it."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    held = sa.Column("accelerator_ms", sa.BigInteger, nullable=False, server_default="0")
    op.add_column("requests", held)
    op.execute("UPDATE meta SET value = 4 WHERE name = 'schema'")
