"""How do the two sides of a group hear of each other? Leader and worker as threads of this process,
over real sockets and without Triton: as processes they are in `test_group.py`.

Holds: preamar_model/group/channel.py, preamar_model/group/leading.py,
preamar_model/serve/working.py
"""

import threading
from types import SimpleNamespace

import pytest
from groups import SECRET, until
from preamar_model.group import channel, leading
from preamar_model.group.leading import Leading
from preamar_model.group.words import GroupSpec
from preamar_model.serve import working
from running import free_ports

OWN = "import time\ntime.sleep(3600)\n"


@pytest.fixture
def worker(tmp_path, monkeypatch):
    """A worker whose model is a program, and the code with which it has ended, if it has."""
    monkeypatch.setattr(working, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(leading, "AGAIN_SECONDS", 0.02)
    monkeypatch.setattr(working.signal, "signal", lambda *_: None)  # no main thread here
    monkeypatch.setattr(working.health, "serve", lambda *_: None)
    monkeypatch.setenv("PREAMAR_TERMINATION_LOG", str(tmp_path / "message"))
    (tmp_path / "models/own").mkdir(parents=True)
    (tmp_path / "models/own/worker.py").write_text(OWN)
    (port,) = free_ports(1)
    made = working.Worker(member(port, rank=1), tmp_path / "models")
    made.codes = []
    thread = threading.Thread(target=lambda: made.codes.append(made.run()), daemon=True)
    thread.start()
    yield made
    made.over.set()
    thread.join(60)


def member(port: int, rank: int = 0, seconds: float = 60) -> GroupSpec:
    return GroupSpec(2, rank, SECRET, seconds, (f"127.0.0.1:{port}",), "127.0.0.1", port)


@pytest.fixture
def leader(worker):
    made = Leading(member(worker.group.port), "")
    assert made.form()
    yield made
    made.end()


def test_a_group_is_whole_when_its_worker_is_held(worker, leader):
    assert leader.whole
    assert worker.held.is_set()
    assert worker.program.poll() is None


def test_a_worker_that_leaves_says_so_and_stays_until_it_is_let_go(worker, leader):
    worker.asked_to_stop.set()
    assert leader.leaving.wait(60)
    assert leader.why.startswith("Worker 1 leaves")
    assert not leader.broken.is_set()
    assert worker.program.poll() is None
    assert worker.codes == []
    leader.end()
    until(lambda: worker.codes == [0])
    assert worker.program.poll() is not None


def test_a_worker_that_is_gone_breaks_the_group(worker, leader, monkeypatch):
    """Its connection ends with it: nobody waits for its silence."""
    mute = SimpleNamespace(say=gone, hear=channel.hear, ChannelClosed=channel.ChannelClosed)
    monkeypatch.setattr(
        working, "channel", SimpleNamespace(**vars(mute), Stranger=channel.Stranger)
    )
    assert leader.broken.wait(60)
    assert leader.why.startswith("Worker 1 is gone")


def gone(*_: object, **__: object) -> None:
    raise channel.ChannelClosed


def test_a_worker_ends_with_its_leader(worker, leader, tmp_path):
    leader.end()
    until(lambda: worker.codes == [75])
    assert "The leader is gone" in (tmp_path / "message").read_text()
    assert worker.program.poll() is not None


def test_a_worker_whose_engine_ends_ends_too(worker, leader, tmp_path):
    worker.program.kill()
    until(lambda: worker.codes == [75])
    assert "worker.py ended" in (tmp_path / "message").read_text()


def test_a_leader_whose_workers_do_not_come_says_so():
    made = Leading(member(free_ports(1)[0], seconds=0.05), "")
    assert not made.form()
    assert "did not come within 0 s" in made.why


def test_a_leader_of_another_revision_is_told_so(worker):
    made = Leading(member(worker.group.port, seconds=0.3), "another plan")
    assert not made.form()
    assert "another revision" in made.why
    assert not worker.held.is_set()
