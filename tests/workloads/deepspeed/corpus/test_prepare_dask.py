"""Dask gives the work of a worker that dies to the others, and nothing changes in the result.

Holds: preamar_train/corpus/drive.py, preamar_train/corpus/run.py
"""

import json
import os
import random
import signal
import socket
import time
import urllib.error
import urllib.request
from decimal import Decimal

import pytest
from distributed import Client, LocalCluster
from preamar_train.corpus import slices, work
from preamar_train.corpus.drive import drive
from preamar_train.corpus.order import FilterSpec, PrepareSpec
from preamar_train.corpus.run import everywhere, teller
from preamar_train.failures import TrainerFailure
from preamar_train.request import DataSource

pytestmark = pytest.mark.slow


@pytest.fixture
def order(tmp_path, monkeypatch):
    monkeypatch.setattr(slices, "SLICE_BYTES", 20_000)
    words = [f"w{n}" for n in range(300)]
    chance = random.Random(3)
    lines = [json.dumps({"text": " ".join(chance.choices(words, k=300))}) for _ in range(400)]
    (tmp_path / "text.jsonl").write_text("\n".join(lines))
    source = DataSource("books", str(tmp_path / "text.jsonl"), Decimal(1))
    return PrepareSpec(
        (source,), "gpt-tiny", {}, FilterSpec(), "Exact", 0.8, tmp_path / "out", "pvc://c", "k"
    )


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Of all tests: a worker that was killed is started anew."""
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=None,
            local_directory=str(tmp_path_factory.mktemp("dask")),
            memory_limit=0,
        ) as made,
        Client(made) as client,
    ):
        yield client


def slowly(*arguments):
    time.sleep(0.15)
    return work.written(*arguments)


def test_a_worker_that_is_killed_changes_nothing(order, cluster, tmp_path):
    from dataclasses import replace

    expected = drive(
        replace(order, target=tmp_path / "plain"),
        400,
        lambda _phase, act, jobs: [act(*job) for job in jobs],
    )
    each, killed = everywhere(cluster), []

    def killing(phase, act, jobs):
        if phase != "tokenising":
            return each(phase, act, jobs)
        victim = cluster.run(os.getpid).popitem()[1]

        def kill():
            time.sleep(0.5)
            os.kill(victim, signal.SIGKILL)
            killed.append(victim)

        import threading

        thread = threading.Thread(target=kill)
        thread.start()
        found = each(phase, slowly, jobs)
        thread.join()
        return found

    done = drive(order, 400, killing)
    assert killed
    assert done.digest == expected.digest


def test_a_users_error_in_a_worker_arrives_with_its_sentence(order, cluster, tmp_path):
    (tmp_path / "text.jsonl").write_text('{"text": 5}\n')
    with pytest.raises(TrainerFailure, match="line 1 of text"):
        drive(order, 400, everywhere(cluster))


def test_the_first_pod_answers_how_far_it_is(tmp_path, monkeypatch):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("PREAMAR_STATE", str(tmp_path))
    monkeypatch.setenv("PREAMAR_AGENT_PORT", str(port))
    say = teller()
    where = f"http://127.0.0.1:{port}"
    for words in ("tokenising 10 %", "tokenising 20 %"):
        say(words)
        told = json.loads(urllib.request.urlopen(f"{where}/progress", timeout=5).read())
        assert (told["attempt"], told["state"]) == (0, words)
    order = urllib.request.Request(f"{where}/stop", data=b"{}", method="POST")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(order, timeout=5)
