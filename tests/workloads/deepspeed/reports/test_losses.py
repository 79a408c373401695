"""The curve beside the checkpoints: each step once, whatever was thrown away.

Holds: preamar_train/reports/losses.py
"""

import json
import urllib.error
import urllib.request

import pytest
from preamar_train.agent.progress import serve
from preamar_train.agent.stopping import Stopping
from preamar_train.reports import losses
from preamar_train.reports.losses import NAME, Losses


def steps(folder):
    head, *rows = (folder / NAME).read_text().splitlines()
    assert head == "step,loss,time,ranks,attempt"
    return [int(row.split(",")[0]) for row in rows]


def trains(folder, since, until, *, attempt=1, most=100):
    record = Losses(folder, since, most, 2, attempt)
    for step in range(since + 1, until + 1):
        record.add(step, 1 / step)
    return record


def test_steps_that_were_thrown_away_are_there_once(tmp_path):
    trains(tmp_path, 0, 9)  # killed: neither synced nor closed
    trains(tmp_path, 5, 12, attempt=2).close()
    assert steps(tmp_path) == list(range(1, 13))
    attempts = [row.split(",")[4] for row in (tmp_path / NAME).read_text().splitlines()[1:]]
    assert attempts == ["1"] * 5 + ["2"] * 7


def test_a_start_from_scratch_begins_a_new_curve(tmp_path):
    trains(tmp_path, 0, 9).close()
    trains(tmp_path, 0, 3, attempt=2).close()
    assert steps(tmp_path) == [1, 2, 3]


def test_a_row_that_a_crash_cut_is_dropped(tmp_path):
    trains(tmp_path, 0, 4).close()
    with (tmp_path / NAME).open("a") as stream:
        stream.write("5,0.2")
    trains(tmp_path, 5, 7, attempt=2).close()
    assert steps(tmp_path) == [1, 2, 3, 4, 6, 7]


def test_whoever_reads_meanwhile_sees_whole_rows(tmp_path):
    trains(tmp_path, 0, 4)
    assert (tmp_path / NAME).read_text().endswith("\n")
    assert steps(tmp_path) == [1, 2, 3, 4]


def test_a_long_run_keeps_a_bounded_number_of_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(losses, "MOST_ROWS", 10)
    trains(tmp_path, 0, 95, most=95).close()
    assert steps(tmp_path) == [10, 20, 30, 40, 50, 60, 70, 80, 90, 95]


def test_a_volume_that_cannot_be_written_ends_no_training(tmp_path, capsys):
    record = trains(tmp_path / "missing", 0, 3)
    record.sync()
    assert capsys.readouterr().out.count("losses are not recorded any more") == 1


def test_other_ranks_write_nothing(tmp_path):
    Losses(None, 0, 10, 2, 1).add(1, 1.0)
    assert not list(tmp_path.iterdir())


def test_the_agent_shows_the_curve(tmp_path, monkeypatch):
    monkeypatch.setenv("PREAMAR_TRAIN", json.dumps({"checkpoint": {"path": str(tmp_path)}}))
    stopping = Stopping("", lambda: None)
    server = serve(tmp_path / "rank-0.json", 0, stopping, host="127.0.0.1")
    at = f"http://127.0.0.1:{server.server_address[1]}/losses"
    try:
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(at, timeout=5)
        trains(tmp_path, 0, 3).close()
        with urllib.request.urlopen(at, timeout=5) as answer:
            assert answer.read().decode() == (tmp_path / NAME).read_text()
    finally:
        server.shutdown()
