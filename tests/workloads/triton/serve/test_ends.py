"""How does the parent of Triton end? With a small program in the place of Triton, which says what it
says and has a process as a model has: the same with the real one is in the slow ring.

Holds: preamar_model/serve/command.py, preamar_model/serve/deaths.py
"""

import os
import shutil
import signal
import threading
import time
from types import SimpleNamespace

import pytest
from preamar_model.serve import command
from preamar_model.serve.deaths import stubs

SERVES = """
trap 'touch "$PLACE/told"; kill $stub; exit 0' TERM
"$PLACE/triton_python_backend_stub" -c 'touch "$PLACE/up"; read word < "$PLACE/never"' &
stub=$!
while [ ! -e "$PLACE/up" ]; do sleep 0.01; done
echo $$ > "$PLACE/pid"
echo '2026-12-01T10:00:00Z I 1 model_lifecycle.cc:849] "successfully loaded '"'m'"'"'
while [ -e "$PLACE/loading" ]; do sleep 0.01; done
echo '2026-12-01T10:00:00Z I 1 http_server.cc:4713] "Started HTTPService at 127.0.0.1:1"'
while :; do wait; done
"""
FAILS = """
echo '2026-12-01T10:00:00Z E 1 model_lifecycle.cc:642] "failed to load '"'m'"' version 1: Internal: %s'
exit 1
"""
SECONDS = 30
"""No test waits for so long unless something is broken."""


@pytest.fixture
def started(tmp_path, monkeypatch):
    """Runs the parent beside the test; what is left of its child ends with it."""
    os.mkfifo(tmp_path / "never")
    (tmp_path / "triton_python_backend_stub").symlink_to(shutil.which("sh"))
    monkeypatch.setattr(command, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)  # it has no main thread here
    monkeypatch.setenv("PREAMAR_TERMINATION_LOG", str(tmp_path / "message"))

    def start(program: str, drain: int = 5, group: object = None) -> SimpleNamespace:
        environment = os.environ | {"PLACE": str(tmp_path)}
        server, codes = command.TritonServer(["sh", "-c", program], environment, drain, group), []
        thread = threading.Thread(target=lambda: codes.append(server.run()), daemon=True)
        thread.start()

        def ended() -> int:
            thread.join(SECONDS)
            return codes[0]

        return SimpleNamespace(server=server, ended=ended, place=tmp_path)

    yield start
    if (tmp_path / "pid").exists():
        for process in (*stubs(pid(tmp_path)), pid(tmp_path)):
            killed(process)


def pid(place) -> int:
    return int((place / "pid").read_text())


def killed(process: int) -> None:
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return


def until(what) -> None:
    deadline = time.monotonic() + SECONDS
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("said", ["ValueError: the weights do not fit", "Stub process is gone"])
def test_the_words_of_a_model_that_fails_while_loading_are_the_last(started, said):
    running = started(FAILS % said)
    assert running.ended() not in {0, 64}
    assert (running.place / "message").read_text() == f"The model m does not load: {said}"


def test_a_model_that_dies_while_serving_ends_the_server(started):
    running = started(SERVES)
    until(lambda: running.server.began_to_serve)
    (stub,) = stubs(pid(running.place))
    killed(stub)
    assert running.ended() != 0
    assert "died" in (running.place / "message").read_text()
    assert (running.place / "told").exists()


def test_a_model_that_dies_while_loading_is_left_to_triton_which_says_why(started, tmp_path):
    (tmp_path / "loading").touch()
    last = FAILS % "the process of m is gone"
    running = started(SERVES.replace("echo '2026-12-01T10:00:00Z I 1 http", last + "echo 'http"))
    until(lambda: (tmp_path / "pid").exists() and stubs(pid(tmp_path)))
    time.sleep(5 * command.LOOK_SECONDS)
    killed(next(iter(stubs(pid(tmp_path)))))
    time.sleep(5 * command.LOOK_SECONDS)
    assert not (tmp_path / "told").exists()
    (tmp_path / "loading").unlink()
    assert running.ended() == 1
    assert "the process of m is gone" in (tmp_path / "message").read_text()


def test_nobody_who_is_connected_is_cut_before_the_time_is_over(started, monkeypatch):
    callers = [2, 2, 1, 1, 0]

    def connected(_) -> int:
        assert not (running.place / "told").exists(), "Triton was told to go with callers in it"
        return callers.pop(0)

    monkeypatch.setattr(command, "connected", connected)
    running = started(SERVES, drain=10_000)
    until(lambda: running.server.began_to_serve)
    running.server._stop()
    assert running.ended() == 0
    assert callers == []
    assert (running.place / "told").exists()


def test_who_does_not_leave_in_time_is_cut_then(started, monkeypatch):
    looks = []
    clock = SimpleNamespace(monotonic=lambda: 0.5 * len(looks))
    monkeypatch.setattr(command, "connected", lambda _: looks.append(1) or 1)
    running = started(SERVES, drain=3)
    until(lambda: running.server.began_to_serve)
    monkeypatch.setattr(command, "time", clock)
    running.server._stop()
    assert running.ended() == 1
    assert len(looks) == 6, "cut at another time than after three of its seconds"
    assert not (running.place / "told").exists()


@pytest.fixture
def group(tmp_path, monkeypatch):
    """A leader's view of its workers."""
    monkeypatch.setenv("PREAMAR_MODELS", str(tmp_path))
    monkeypatch.setattr(command, "TOLD_SECONDS", 0.01)
    events = {name: threading.Event() for name in ("broken", "leaving", "unready", "ended")}
    return SimpleNamespace(
        **events, form=lambda: True, health=lambda _: None, end=events["ended"].set, why="It ends."
    )


def test_a_leader_whose_worker_leaves_lets_its_callers_go_first(started, group, monkeypatch):
    callers = [1, 1, 0]
    monkeypatch.setattr(command, "connected", lambda _: callers.pop(0))
    running = started(SERVES, drain=10_000, group=group)
    until(lambda: running.server.began_to_serve)
    group.leaving.set()
    assert running.ended() == 75
    assert callers == []
    assert (running.place / "told").exists()
    assert group.ended.is_set()
    assert (running.place / "message").read_text() == "It ends."


def test_a_leader_whose_worker_is_gone_answers_nobody_any_more(started, group):
    running = started(SERVES, drain=10_000, group=group)
    until(lambda: running.server.began_to_serve)
    group.broken.set()
    assert running.ended() == 75
    assert not (running.place / "told").exists(), "it was killed, and not asked"
    assert (running.place / "message").read_text() == "It ends."
