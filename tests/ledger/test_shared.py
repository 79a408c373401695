"""Gateways that share a database: nothing is lost while it is away, nothing counts twice, and what the
dead leave is settled by the living.

Holds: ledger/store/backend.py, ledger/store/heartbeats.py, ledger/store/postgres.py,
ledger/store/shipper.py, ledger/store/spool.py
"""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import func, select, text

from preamar.gateway.auth.keyring import Keyring
from preamar.ledger import keys
from preamar.ledger.budgets import leases
from preamar.ledger.store import heartbeats, sqlite
from preamar.ledger.store.backend import Shared
from preamar.ledger.store.postgres import open_postgres, prepare
from preamar.ledger.store.sqlite import StoreUnusable
from preamar.ledger.tables.prices import PICO
from preamar.ledger.tables.schema import SchemaMismatch, requests
from preamar.ledger.tables.usage_record import State
from tests.postgres import running

from .test_leases import MONTH, a_row

NOW = 1_795_000_000_500


def until(true, seconds=120):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def home(tmp_path, url, name="one", forgotten=lambda: None):
    found = Shared(tmp_path / name / "ledger.sqlite", url, name, 400, forgotten)
    found.start()
    return found


@pytest.fixture
def remote(database):
    engine = open_postgres(database)
    prepare(engine)
    yield engine
    engine.dispose()


def told(remote):
    with remote.connect() as connection:
        return list(connection.execute(select(requests.c.output_tokens, requests.c.state)))


def counted(remote):
    with remote.connect() as connection:
        return connection.scalar(
            select(func.count()).select_from(requests).where(requests.c.state == State.DONE)
        )


def test_rows_reach_the_database_and_leave_the_spool(tmp_path, database, remote):
    one = home(tmp_path, database)
    for number in range(700):
        one.writer.submit(a_row(f"r{number}", 1_000))
    until(lambda: counted(remote) == 700)
    assert one.stop(60)
    assert leases.standing(remote, MONTH)[0] == 700 * 1_000 * 10**6
    assert one.shipper.waiting == 0


def test_a_stream_is_told_of_as_it_goes_and_ends_once(tmp_path, database, remote):
    one = home(tmp_path, database)
    for tokens in (1, 5):
        one.writer.submit(a_row("r", tokens, finished=NOW + tokens, state=State.OPEN))
        until(lambda tokens=tokens: told(remote) == [(tokens, "open")])
    one.writer.submit(a_row("r", 9, finished=NOW + 9))
    until(lambda: told(remote) == [(9, "done")])
    assert one.stop(60)


def test_a_gateway_that_dies_is_settled_by_another_and_its_leases_end(tmp_path, database, remote):
    one = home(tmp_path, database)
    until(lambda: one.fresh)
    leases.grant(remote, MONTH, "one", 5 * PICO)
    one.writer.submit(a_row("r", 1_000_000, state=State.OPEN))
    until(lambda: told(remote) == [(1_000_000, "open")])
    assert heartbeats.recover(remote, "two") == 0  # it lives
    with remote.begin() as connection:
        connection.execute(text("UPDATE gateways SET seen = seen - 61000"))
    assert heartbeats.recover(remote, "two") == 1
    assert leases.standing(remote, MONTH) == (PICO, 0)
    one.stop(60)


def test_a_gateway_that_was_taken_for_dead_learns_it(tmp_path, database, remote, monkeypatch):
    monkeypatch.setattr(heartbeats, "BEAT_SECONDS", 0.1)
    learned = []
    one = home(tmp_path, database, forgotten=lambda: learned.append(True))
    until(lambda: one.fresh)
    with remote.begin() as connection:
        connection.execute(text("DELETE FROM gateways"))
    until(lambda: learned == [True])
    assert one.stop(60)


def test_leases_do_not_hold_once_nobody_was_told_for_long(tmp_path, database, monkeypatch):
    one = home(tmp_path, database)
    until(lambda: one.fresh)
    monkeypatch.setattr(heartbeats, "FENCE_SECONDS", 0.0)
    assert not one.fresh
    one.stop(60)


def test_a_newer_database_or_another_one_is_refused(database, remote):
    with remote.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaMismatch, match="newer version"):
        prepare(remote)
    for wrong in ("", "mysql://x/y", "/var/lib/ledger", "postgresql://[::bad"):
        with pytest.raises(StoreUnusable) as refused:
            open_postgres(wrong)
        assert "bad" not in str(refused.value)


def test_keys_are_known_after_a_start_while_the_database_is_away(tmp_path, database, remote):
    cache = sqlite.open_store(tmp_path / "cache.sqlite")
    keyring = Keyring(remote, b"pepper" * 4, cache)
    keyring.begin()
    key, stored = keyring.create("acme", 1, {"models": ["gpt"]})
    away = open_postgres("postgresql://nobody@127.0.0.1:1/none")
    again = Keyring(away, b"pepper" * 4, cache)
    again.begin()
    assert again.caller(key) == keyring.caller(key)
    assert again.caller(key).limits.models == {"gpt"}
    assert keys.active(cache) == (stored,)


@pytest.mark.slow
def test_nothing_is_lost_or_counted_twice_while_the_database_dies_and_returns(tmp_path):
    with running() as server:
        url = server.fresh("ledger")
        engine = open_postgres(url)
        prepare(engine)
        homes = [home(tmp_path, url, name) for name in ("one", "two")]
        written = Counter()
        for life in range(4):
            for number in range(300):
                name = f"{life}-{number}"
                homes[number % 2].writer.submit(a_row(name, 7), lambda: written.update("x"))
                if number == 150:
                    server.kill()
            until(lambda life=life: written["x"] == 300 * (life + 1))  # durable without it
            server.start()
        until(lambda: counted(engine) == 1200)
        assert leases.standing(engine, MONTH)[0] == 1200 * 7 * 10**6
        assert [one.stop(60) for one in homes] == [True, True]
        engine.dispose()


CHILD = """
import itertools, sys, threading
from dataclasses import replace
from pathlib import Path
sys.path[:0] = ['operator', '.']
from preamar.ledger.store.backend import Shared
from tests.ledger.test_leases import a_row
home = Shared(Path(sys.argv[1]), sys.argv[2], sys.argv[3], 400, lambda: None)
home.start()
room = threading.Semaphore(50)
def written(name):
    print(name, flush=True)
    room.release()
for number in itertools.count():
    name = f"{sys.argv[3]}-{number}"
    room.acquire()
    home.writer.submit(a_row(name, 3), lambda name=name: written(name))
"""


@pytest.mark.slow
def test_what_was_durable_before_a_kill_is_counted_once_after_it(tmp_path, database, remote):
    said = set()
    for life in range(5):
        argv = [sys.executable, "-c", CHILD, tmp_path / "l.sqlite", database, f"life{life}"]
        child = subprocess.Popen([*map(str, argv)], stdout=subprocess.PIPE, text=True)
        end = None
        for line in child.stdout:
            said.add(line.strip())
            end = end or time.monotonic() + 0.4 + life * 0.13
            if time.monotonic() > end:
                break
        os.kill(child.pid, signal.SIGKILL)
        said |= {
            line.strip() for line in child.stdout.read().splitlines(True) if line.endswith("\n")
        }
        child.wait()
        child.stdout.close()
    last = home(tmp_path, database, "last")
    last.stop(60)
    adopted = Shared(tmp_path / "l.sqlite", database, "heir", 400, lambda: None)
    adopted.start()
    assert adopted.stop(60)
    with remote.connect() as connection:
        found = set(connection.scalars(select(requests.c.id)))
    assert said <= found
    assert len(said) > 500
    assert leases.standing(remote, MONTH)[0] == len(found) * 3 * 10**6


def test_four_gateways_on_one_database_lease_no_more_than_there_is(remote):
    few = replace(MONTH, most=1000)

    def gateway(name):
        return sum(leases.grant(remote, few, name, 7, 30).amount for _ in range(40))

    with ThreadPoolExecutor(4) as pool:
        held = list(pool.map(gateway, "abcd"))
    assert sum(held) == leases.standing(remote, few)[1] <= 1000
    assert sum(held) > 1000 - 7
