"""A ledger of any earlier version becomes one of this version, whole or not at all.

Holds: ledger/migrations/env.py, ledger/tables/migrate.py, ledger/tables/schema.py
"""

import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic import op
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import select

from preamar.ledger.store import sqlite
from preamar.ledger.tables.prices import FREE
from preamar.ledger.tables.schema import SchemaMismatch, metadata, prices, requests

# As the first version wrote it.
FIRST = """
CREATE TABLE meta (name VARCHAR(32) NOT NULL, value BIGINT NOT NULL, PRIMARY KEY (name));
CREATE TABLE api_keys (
  id VARCHAR(8) NOT NULL, tenant VARCHAR(63) NOT NULL, digest BLOB NOT NULL,
  created BIGINT NOT NULL, revoked BIGINT, PRIMARY KEY (id));
CREATE INDEX ix_api_keys_tenant ON api_keys (tenant);
CREATE TABLE requests (
  id VARCHAR(40) NOT NULL, tenant VARCHAR(63) NOT NULL, key_id VARCHAR(8) NOT NULL,
  model VARCHAR(256) NOT NULL, endpoint VARCHAR(32) NOT NULL, kind VARCHAR(16) NOT NULL,
  input_tokens BIGINT NOT NULL, output_tokens BIGINT NOT NULL, status INTEGER NOT NULL,
  state VARCHAR(4) NOT NULL, instance VARCHAR(64) NOT NULL, started BIGINT NOT NULL,
  finished BIGINT NOT NULL, PRIMARY KEY (id));
CREATE INDEX requests_by_time ON requests (kind, started);
CREATE INDEX requests_by_state ON requests (state);
INSERT INTO meta VALUES ('schema', 1), ('keys', 7);
INSERT INTO requests VALUES
  ('r1', 'acme', 'k', 'm', '/v1/completions', 'completions', 3, 5, 200, 'done', 'i', 1, 2);
"""


@pytest.fixture
def first(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with sqlite3.connect(path) as raw:
        raw.executescript(FIRST)
    return path


def tables(path):
    with sqlite3.connect(path) as raw:
        return {
            name for (name,) in raw.execute("select name from sqlite_master where type='table'")
        }


@pytest.mark.parametrize("old", [True, False], ids=["of the first version", "new"])
def test_every_ledger_ends_with_the_tables_that_the_code_knows(first, tmp_path, old):
    engine = sqlite.open_store(first if old else tmp_path / "new.sqlite")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert connection.scalar(select(prices.c.version)) == FREE.version
        if old:
            (row,) = connection.execute(select(requests))
            assert (row.id, row.input_tokens, row.price) == ("r1", 3, FREE.version)
    engine.dispose()


def test_a_migration_that_breaks_off_leaves_the_ledger_as_it_was(first, monkeypatch):
    before = tables(first)

    def broken(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(op, "add_column", broken)  # when the table of prices is there already
    with pytest.raises(KeyboardInterrupt):
        sqlite.open_store(first)
    assert tables(first) == before
    monkeypatch.undo()
    sqlite.open_store(first).dispose()
    assert "prices" in tables(first)


def test_gateways_that_start_together_migrate_once(first):
    with ThreadPoolExecutor(8) as pool:
        for engine in pool.map(sqlite.open_store, [first] * 8):
            engine.dispose()
    with sqlite3.connect(first) as raw:
        assert list(raw.execute("select count(*) from prices")) == [(1,)]


def test_somebody_elses_database_is_left_alone(tmp_path):
    path = tmp_path / "theirs.sqlite"
    with sqlite3.connect(path) as raw:
        raw.execute("create table meta (name text, value integer)")
    with pytest.raises(SchemaMismatch, match="no ledger of ours"):
        sqlite.open_store(path)
    assert tables(path) == {"meta"}
