"""What is durable first: a journal gives back what was added to it, and nothing that was not.

Holds: ledger/store/file_lock.py, ledger/store/journal.py
"""

import os
import threading
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from preamar.ledger.store import sqlite
from preamar.ledger.store.file_lock import Alive, journal_of, recover
from preamar.ledger.store.journal import SIZE, Journal, read
from preamar.ledger.store.writer import APPLY_SECONDS, Writer
from preamar.ledger.tables.prices import Price
from preamar.ledger.tables.schema import balances, requests
from preamar.ledger.tables.usage_record import State
from tests.hunting import examples
from tests.ledgers import a_ledger

from .test_costs import ROWS
from .test_ledger import ROW

BATCHES = st.lists(st.lists(ROWS, min_size=1, max_size=4), max_size=5)


def written(folder, batches, before=()):
    """A journal with these batches, begun anew after the ones before."""
    journal = Journal(folder / "j")
    for batch in before:
        journal.append(batch)
    if before:
        journal.begin_anew()
    for batch in batches:
        journal.append(batch)
    os.close(journal._file)
    return folder / "j"


@examples(check=15, hunt=600)
@given(BATCHES, BATCHES)
def test_rows_come_back_as_they_were_and_those_of_before_do_not(tmp_path_factory, before, batches):
    path = written(tmp_path_factory.mktemp("journal"), batches, before)
    found = read(path)
    if batches or not before:
        assert found == [row for batch in batches for row in batch]
    else:
        assert found == [row for batch in before for row in batch]  # which count once


@examples(check=25, hunt=1000)
@given(BATCHES, BATCHES, st.integers(0, 3000), st.binary(max_size=40))
def test_a_tail_that_is_torn_or_rotten_costs_whole_batches_and_invents_nothing(
    tmp_path_factory, before, batches, at, rot
):
    path = written(tmp_path_factory.mktemp("journal"), batches, before)
    data = path.read_bytes()
    path.write_bytes(data[:at] + rot + data[at + len(rot) :])
    expected = [row for batch in (batches or before) for row in batch]
    found = read(path)
    assert found == expected[: len(found)]


def test_what_was_acknowledged_is_there_whichever_byte_was_the_last(tmp_path):
    batches = [[replace(ROW, id=f"{n}-{m}") for m in range(3)] for n in range(4)]
    journal, ends = Journal(tmp_path / "j"), []
    for batch in batches:
        journal.append(batch)
        ends.append(journal._end)
    data = (tmp_path / "j").read_bytes()
    for cut in range(ends[-1] + 1):
        (tmp_path / "k").write_bytes(data[:cut])
        whole = sum(end <= cut for end in ends)
        assert read(tmp_path / "k") == [row for batch in batches[:whole] for row in batch]


def test_it_grows_over_its_size_and_shrinks_again(tmp_path):
    journal = Journal(tmp_path / "j")
    rows = [replace(ROW, id=f"r{n}", reserved=(("acme", "2026-11"),)) for n in range(500)]
    while journal._end <= SIZE:
        journal.append(rows)
    assert journal.full
    assert len(read(tmp_path / "j")) % 500 == 0
    journal.begin_anew()
    assert (tmp_path / "j").stat().st_size == SIZE
    journal.append(rows[:1])
    assert read(tmp_path / "j") == rows[:1]
    journal.remove()
    assert read(tmp_path / "j") == []


def test_the_journal_of_the_dead_is_taken_up_once_and_that_of_the_living_is_left(tmp_path):
    engine = a_ledger(tmp_path / "ledger.sqlite")
    price = Price("USD", 0, 0, 7)
    alive = Alive(tmp_path, "alive")
    for name in ("alive", "dead"):
        journal = Journal(journal_of(tmp_path, name))
        done = replace(ROW, id=f"{name}-done", instance=name, price=price)
        journal.append([done, replace(done, id=f"{name}-open", state=State.OPEN)])
        journal.append([done])
    sqlite.write(engine, [replace(ROW, id="dead-done", instance="dead", price=price)])
    assert recover(engine, tmp_path, "me") == 1
    with engine.connect() as connection:
        rows = {row.id: row.state for row in connection.execute(select(requests))}
        spent = connection.execute(select(balances).where(balances.c.owner == ROW.tenant)).one()
    assert rows == {"dead-done": "done", "dead-open": "done"}
    assert spent.rest == 2 * 7_000_000
    assert not journal_of(tmp_path, "dead").exists()
    assert journal_of(tmp_path, "alive").exists()
    assert recover(engine, tmp_path, "me") == 0
    alive.release()
    engine.dispose()


def test_a_database_that_fails_keeps_nobody_waiting_and_loses_nothing(tmp_path, monkeypatch):
    engine = a_ledger(tmp_path / "ledger.sqlite")
    writer, real = Writer(engine, Journal(tmp_path / "j")), sqlite.write
    failing = threading.Event()
    failing.set()

    def write(engine, batch, **more):
        if failing.is_set():
            raise OperationalError("x", {}, Exception("disk is full"))
        real(engine, batch, **more)

    monkeypatch.setattr(sqlite, "write", write)
    writer.start()
    done = threading.Semaphore(0)
    for number in range(3):
        writer.submit(replace(ROW, id=f"r{number}"), done.release)
        assert done.acquire(timeout=60)
    deadline = time.monotonic() + 60
    while writer.healthy:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(read(tmp_path / "j")) == 3
    failing.clear()
    assert writer.stop(60)
    assert writer.healthy
    with engine.connect() as connection:
        assert len(list(connection.execute(select(requests)))) == 3
    assert not (tmp_path / "j").exists()
    engine.dispose()


def test_rows_reach_the_database_by_themselves_and_together(tmp_path, monkeypatch):
    engine = a_ledger(tmp_path / "ledger.sqlite")
    batches, real = [], sqlite.write
    monkeypatch.setattr(
        sqlite,
        "write",
        lambda engine, rows, **m: (batches.append(len(rows)), real(engine, rows, **m)),
    )
    writer = Writer(engine, Journal(tmp_path / "j"))
    writer.start()
    began = time.monotonic()
    for number in range(40):
        writer.submit(replace(ROW, id=f"r{number}"))
        time.sleep(0.005)
    deadline = time.monotonic() + 60
    while sum(batches) < 40:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    # So often, and not at each row, however long a busy machine takes for them.
    assert len(batches) <= (time.monotonic() - began) / APPLY_SECONDS + 1
    assert writer.stop(60)
    engine.dispose()


def test_a_folder_that_cannot_be_written_is_refused_with_a_sentence(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        Journal(tmp_path / "missing" / "j")


def test_a_write_that_the_disk_takes_in_part_is_an_error_and_not_an_acknowledgement(
    tmp_path, monkeypatch
):
    journal, real = Journal(tmp_path / "j"), os.pwritev
    journal.append([ROW])
    monkeypatch.setattr(os, "pwritev", lambda file, parts, at: real(file, [parts[0]], at))
    with pytest.raises(OSError, match="No space left"):
        journal.append([replace(ROW, id="r2")])
    monkeypatch.undo()
    assert read(tmp_path / "j") == [ROW]
    journal.append([replace(ROW, id="r3")])
    assert [row.id for row in read(tmp_path / "j")] == [ROW.id, "r3"]
