"""What the ledger promises: once, durably, and the same sums however it is asked.

Holds: ledger/keys.py, ledger/reports/usage.py, ledger/store/sqlite.py, ledger/store/writer.py
"""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from preamar.ledger import keys
from preamar.ledger.reports import usage
from preamar.ledger.store import sqlite
from preamar.ledger.store.file_lock import Alive, recover
from preamar.ledger.store.journal import Journal
from preamar.ledger.store.writer import Writer
from preamar.ledger.tables.schema import SchemaMismatch, requests
from preamar.ledger.tables.usage_record import Kind, Row, State
from tests.hunting import examples
from tests.ledgers import a_ledger, quick_folder

ROW = Row(
    id="r1", tenant="acme", key_id="k", model="m", endpoint="/v1/completions",
    kind=Kind.COMPLETIONS, input_tokens=3, output_tokens=5, status=200, state=State.DONE,
    instance="i", started=1_000_000, finished=1_000_500,
)  # fmt: skip


def rows(engine):
    with engine.connect() as connection:
        return list(connection.execute(select(requests)))


def test_a_row_counts_once_and_never_changes_after_its_end(engine):
    opened = replace(ROW, state=State.OPEN, output_tokens=1)
    for row in (opened, replace(opened, output_tokens=2), ROW, ROW, replace(ROW, output_tokens=9)):
        sqlite.write(engine, [row])
    sqlite.write(engine, [replace(opened, output_tokens=99)])
    (row,) = rows(engine)
    assert (row.output_tokens, row.state) == (5, "done")


def test_streams_of_the_dead_are_settled_and_those_of_the_living_are_not(engine, tmp_path):
    alive = Alive(tmp_path, "alive")
    for name in ("alive", "dead"):
        sqlite.write(engine, [replace(ROW, id=name, instance=name, state=State.OPEN)])
    assert recover(engine, tmp_path, "me") == 1
    assert {row.id: row.state for row in rows(engine)} == {"alive": "open", "dead": "done"}
    alive.release()
    assert recover(engine, tmp_path, "me") == 1


def test_a_file_of_another_version_is_refused_with_a_sentence(tmp_path):
    path = tmp_path / "ledger.sqlite"
    sqlite.open_store(path).dispose()
    with sqlite3.connect(path) as raw:
        raw.execute("update alembic_version set version_num = '9999'")
    with pytest.raises(SchemaMismatch, match="newer version"):
        sqlite.open_store(path)
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(sqlite.StoreUnusable):
        sqlite.open_store(path)


def test_many_threads_write_and_each_learns_of_its_own(engine, tmp_path):
    writer = Writer(engine, Journal(tmp_path / "journal"))
    writer.start()
    done = threading.Semaphore(0)
    for number in range(1000):
        writer.submit(replace(ROW, id=f"r{number}"), done.release)
    for _ in range(1000):
        assert done.acquire(timeout=60)
    writer.flush()
    assert len(rows(engine)) == 1000
    assert writer.stop(60)


def test_a_disk_that_fails_loses_nothing_and_gives_rows_back(engine, tmp_path, monkeypatch):
    writer = Writer(engine, Journal(tmp_path / "journal"))
    failing = threading.Event()
    failing.set()
    real = Journal.append

    def append(journal, batch):
        if failing.is_set():
            raise OSError(28, "disk is full")
        real(journal, batch)

    monkeypatch.setattr(Journal, "append", append)
    writer.start()
    done = threading.Event()
    entry = writer.submit(ROW, done.set)
    kept = writer.submit(replace(ROW, id="r2"))
    assert not done.wait(0.5)
    assert not writer.healthy
    while not writer.withdraw(entry):
        pass
    failing.clear()
    writer.submit(replace(ROW, id="r3"), done.set)
    assert done.wait(60)
    assert writer.stop(60)
    assert writer.healthy
    assert kept.state == "done"
    assert [row.id for row in rows(engine)] == ["r2", "r3"]


def test_what_was_acknowledged_survives_a_kill(tmp_path):
    program = (
        "import sys, itertools\n"
        "from dataclasses import replace\n"
        "from pathlib import Path\n"
        "sys.path[:0] = ['operator', '.']\n"
        "from preamar.ledger.store import sqlite\n"
        "from preamar.ledger.store.writer import Writer\n"
        "from preamar.ledger.tables.usage_record import *\n"
        "from preamar.ledger.store.journal import Journal\n"
        "path = Path(sys.argv[1])\n"
        "journal = Journal(path.with_name('i.journal'))\n"
        "w = Writer(sqlite.open_store(path), journal); w.start()\n"
        "row = Row('', 't', 'k', 'm', 'e', Kind.COMPLETIONS, 1, 1, 200, State.DONE, 'i', 1, 1)\n"
        "for n in itertools.count():\n"
        "    w.submit(replace(row, id=str(n)), lambda n=n: print(n, flush=True))\n"
        "    if n % 50 == 49:\n"
        "        import time; time.sleep(0.002)\n"
    )
    path = tmp_path / "ledger.sqlite"
    process = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE)
    said = [process.stdout.readline() for _ in range(2000)]
    os.kill(process.pid, signal.SIGKILL)
    said += process.stdout.readlines()
    process.wait()
    told = {line.strip().decode() for line in said if line.endswith(b"\n")}
    engine = sqlite.open_store(path)
    recover(engine, tmp_path, "me")
    assert len(told) >= 2000
    assert told <= {row.id for row in rows(engine)}
    engine.dispose()


def test_keys_raise_the_revision_and_have_a_bound(engine, monkeypatch):
    monkeypatch.setattr(keys, "MOST_PER_TENANT", 2)
    for number in range(2):
        keys.add(engine, keys.StoredKey(f"k{number}", "acme", b"d", number))
    assert keys.revision(engine) == 2
    with pytest.raises(keys.TooManyKeys):
        keys.add(engine, keys.StoredKey("k9", "acme", b"d", 1))
    assert not keys.revoke(engine, "other", "k0")
    assert keys.revoke(engine, "acme", "k0")
    assert [key.id for key in keys.active(engine)] == ["k1"]
    assert keys.revision(engine) == 3


@given(
    st.lists(st.tuples(st.integers(0, 9000), st.sampled_from("ab"), st.integers(0, 9)), max_size=30),
    st.integers(0, 4000), st.integers(1, 5000), st.integers(1, 60),
)  # fmt: skip
@examples(check=10, hunt=400)
def test_pages_add_up_to_every_row_in_the_period_whatever_their_size(made, start, length, limit):
    with quick_folder() as folder:
        engine = a_ledger(folder / "l.sqlite")
        written = [
            replace(ROW, id=str(n), started=at * 1000 + 7, tenant=tenant, input_tokens=tokens)
            for n, (at, tenant, tokens) in enumerate(made)
        ]
        if written:
            sqlite.write(engine, written)
        end = start + length
        expected = {}
        for row in written:
            if start * 1000 <= row.started < end * 1000:
                have = expected.get(row.tenant, (0, 0))
                expected[row.tenant] = (have[0] + 1, have[1] + row.input_tokens)
        found, page = {}, "0"
        while page is not None:
            query = usage.query_of(
                Kind.COMPLETIONS,
                {"start_time": [str(start)], "end_time": [str(end)], "bucket_width": ["1m"],
                 "limit": [str(limit)], "group_by[]": ["project_id"], "page": [page]},
                0,
            )  # fmt: skip
            report = usage.report(query, usage.sums(engine, query))
            assert len(report["data"]) <= limit
            for bucket in report["data"]:
                for item in bucket["results"]:
                    have = found.get(item["project_id"], (0, 0))
                    found[item["project_id"]] = (
                        have[0] + item["num_model_requests"],
                        have[1] + item["input_tokens"],
                    )
            page = report["next_page"]
        assert found == expected
        engine.dispose()


@pytest.mark.parametrize(("given_", "param"), [
    ({}, "start_time"), ({"start_time": ["x"]}, "start_time"),
    ({"start_time": ["5"], "end_time": ["5"]}, "end_time"),
    ({"start_time": ["5"], "bucket_width": ["2d"]}, "bucket_width"),
    ({"start_time": ["5"], "limit": ["32"]}, "limit"),
    ({"start_time": ["5"], "group_by": ["user_id"]}, "group_by"),
])  # fmt: skip
def test_a_bad_query_names_its_parameter(given_, param):
    with pytest.raises(usage.BadQuery) as refused:
        usage.query_of(Kind.COMPLETIONS, given_, 100)
    assert refused.value.param == param
