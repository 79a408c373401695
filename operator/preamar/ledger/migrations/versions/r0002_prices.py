"""Each request knows the price that it was asked at; those from before were free."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

FREE_VERSION = "6498b3546481"
FREE = {
    "version": FREE_VERSION,
    "currency": "USD",
    "million_input_tokens": 0,
    "million_output_tokens": 0,
    "request": 0,
    "accelerator_second": 0,
}


def upgrade() -> None:
    prices = op.create_table(
        "prices",
        sa.Column("version", sa.String(12), primary_key=True),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("million_input_tokens", sa.BigInteger, nullable=False),
        sa.Column("million_output_tokens", sa.BigInteger, nullable=False),
        sa.Column("request", sa.BigInteger, nullable=False),
        sa.Column("accelerator_second", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(prices, [FREE])
    free = sa.Column("price", sa.String(12), nullable=False, server_default=FREE_VERSION)
    op.add_column("requests", free)
    op.execute("UPDATE meta SET value = 2 WHERE name = 'schema'")
