"""Budgets, and scopes of keys. What earlier requests cost is counted once, here."""

from collections import Counter
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

MILLION, BILLION = 10**6, 10**9


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("scope", sa.Text, nullable=False, server_default="{}"))
    op.add_column("api_keys", sa.Column("older_digest", sa.LargeBinary(32)))
    op.add_column("api_keys", sa.Column("older_until", sa.BigInteger))
    op.add_column("requests", sa.Column("reserved", sa.Text, nullable=False, server_default=""))
    op.create_table(
        "gateways",
        sa.Column("instance", sa.String(64), primary_key=True),
        sa.Column("seen", sa.BigInteger, nullable=False),
    )
    balances = op.create_table("balances", *_key(), *_amount())
    instance = sa.Column("instance", sa.String(64), primary_key=True)
    op.create_table("leases", *_key(), instance, *_amount())
    op.create_index("leases_by_instance", "leases", ["instance"])
    if spent := _spent(op.get_bind()):
        op.bulk_insert(balances, spent)
    op.execute("UPDATE meta SET value = 3 WHERE name = 'schema'")


def _key() -> list[sa.Column[str]]:
    return [
        sa.Column("owner", sa.String(80), primary_key=True),
        sa.Column("unit", sa.String(12), primary_key=True),
        sa.Column("period", sa.String(16), primary_key=True),
    ]


def _amount() -> list[sa.Column[int]]:
    return [
        sa.Column("billions", sa.BigInteger, nullable=False),
        sa.Column("rest", sa.BigInteger, nullable=False),
    ]


def _spent(connection: sa.Connection) -> list[dict[str, object]]:
    query = sa.text(
        "SELECT tenant, key_id, started, input_tokens, output_tokens, currency, "
        "million_input_tokens, million_output_tokens, request "
        "FROM requests JOIN prices ON prices.version = requests.price WHERE state = 'done' "
        "AND (status = 200 OR input_tokens > 0 OR output_tokens > 0)"
    )
    rows = connection.execute(query.execution_options(stream_results=True))
    sums: Counter[tuple[str, str, str]] = Counter()
    for tenant, key_id, started, given, made, currency, per_given, per_made, each in rows:
        month = f"{datetime.fromtimestamp(started / 1000, UTC):%Y-%m}"
        cost = per_given * given + per_made * made + each * MILLION
        for owner in (tenant, f"key/{key_id}"):
            sums[owner, currency, month] += cost
    return [
        {
            "owner": owner,
            "unit": currency,
            "period": month,
            "billions": cost // BILLION,
            "rest": cost % BILLION,
        }
        for (owner, currency, month), cost in sorted(sums.items())
        if cost
    ]
