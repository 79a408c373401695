"""The agent, as a process, with small programs in the place of ranks.

Holds: preamar_train/__main__.py, preamar_train/main.py, preamar_train/agent/hang.py,
preamar_train/agent/progress.py, preamar_train/agent/rank_reports.py, preamar_train/agent/run.py,
preamar_train/agent/settings.py, preamar_train/agent/signals.py, preamar_train/agent/stillness.py,
preamar_train/agent/stopping.py, preamar_train/agent/supervisor.py
"""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

WORKLOADS = Path(__file__).parents[4] / "workloads"
PACKAGES = [str(WORKLOADS / "deepspeed"), str(WORKLOADS / "common")]
HELPERS = f"""
import json, os, signal, sys, time
sys.path[:0] = {PACKAGES!r}
from preamar_train.reports import beat, rank_state
rank = int(os.environ["RANK"])
told = rank_state.of_rank(rank)
"""


class Agent:
    """`preamar-train agent` whose ranks run the given Python text."""

    def __init__(self, folder: Path, text: str, **env: str) -> None:
        self.folder = folder
        (folder / "rank.py").write_text(HELPERS + text)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "preamar_train", "agent"],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": os.pathsep.join(PACKAGES),
                "WORLD_SIZE": "2",
                "RANKS_PER_WORKER": "2",
                "JOB_COMPLETION_INDEX": "0",
                "MASTER_ADDR": "127.0.0.1",
                "PREAMAR_AGENT_PORT": "0",
                "PREAMAR_STATE": str(folder / "state"),
                "PREAMAR_TERMINATION_LOG": str(folder / "message"),
                "PREAMAR_RANK_COMMAND": json.dumps([sys.executable, str(folder / "rank.py")]),
                "PREAMAR_TRAIN": json.dumps({"attempt": 3, "steps": 40}),
                **env,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait_for(self, name: str, limit: float = 20) -> None:
        deadline = time.monotonic() + limit
        while not (self.folder / name).exists():
            assert time.monotonic() < deadline, f"{name} never came"
            time.sleep(0.02)

    def wait_until_it_hears(self, number: int, limit: float = 20) -> None:
        """Before it does, that signal just ends it."""
        deadline = time.monotonic() + limit
        status = Path(f"/proc/{self.process.pid}/status")
        while not int(status.read_text().partition("SigCgt:")[2].split()[0], 16) >> number - 1 & 1:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def end(self, limit: float = 60) -> tuple[int, dict, str]:
        output, _ = self.process.communicate(timeout=limit)
        return self.process.returncode, json.loads((self.folder / "message").read_text()), output

    def kill_ranks(self) -> None:
        """Those that an agent which was killed has left: they have sessions of their own."""
        program = str(self.folder / "rank.py").encode()
        for found in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if program in found.read_bytes().split(b"\0"):
                    os.kill(int(found.parent.name), signal.SIGKILL)


@pytest.fixture
def agent(tmp_path):
    started = []

    def start(text: str, **env: str) -> Agent:
        started.append(Agent(tmp_path, text, **env))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()
        each.kill_ranks()


def test_ranks_get_their_places_and_lines_get_their_rank(agent):
    keys = [
        "RANK",
        "WORLD_SIZE",
        "LOCAL_RANK",
        "LOCAL_SIZE",
        "MASTER_ADDR",
        "MASTER_PORT",
        "DS_ACCELERATOR",
    ]
    text = f"""
print("at", *(os.environ[key] for key in {keys}))
rank_state.write(told, {{"state": "Done", "step": 40, "consumed": 80, "exported": "pvc://m/x",
    "evaluation": {{"loss": "1.5", "unigram": "2.5"}}, "checkpoint": {{"step": 40}}}})
"""
    code, message, output = agent(
        text, WORLD_SIZE="4", JOB_COMPLETION_INDEX="1", MASTER_ADDR="localhost", MASTER_PORT="29555"
    ).end()
    assert code == 0
    for rank in (2, 3):
        assert f"[rank {rank}] at {rank} 4 {rank - 2} 2 " in output
    assert " 29555 cpu" in output
    assert "at 2 4 0 2 localhost" not in output  # the address was looked up once, by the agent
    assert message == {
        "outcome": "Done",
        "rank": 2,
        "step": 40,
        "consumed": 80,
        "skipped": 0,
        "duplicated": 0,
        "resumed": None,
        "resumedFrom": None,
        "checkpoint": {"step": 40},
        "evaluation": {"loss": "1.5", "unigram": "2.5"},
        "exported": "pvc://m/x",
        "class": None,
        "explanation": None,
        "failedStep": None,
        "waits": False,
        "seconds": None,
        "saveSeconds": None,
    }


def test_a_killed_rank_is_named_and_its_peer_ends_soon(agent):
    code, message, _ = agent(
        """
if rank == 1:
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep(600)
"""
    ).end()
    assert code == 1
    assert (message["outcome"], message["class"], message["rank"]) == ("Failed", "Killed", 1)


def test_a_peers_echo_does_not_hide_the_cause(agent):
    code, message, _ = agent(
        """
if rank == 1:
    time.sleep(1)
    rank_state.write(told, {"step": 9, "failure": {"class": "NonFiniteLoss", "explanation": "In step 9."}})
else:
    rank_state.write(told, {"failure": {"class": "PeerLost", "explanation": "Gone."}})
sys.exit(1)
"""
    ).end()
    assert code == 1
    assert (message["class"], message["explanation"]) == ("NonFiniteLoss", "In step 9.")
    assert (message["rank"], message["step"]) == (1, 9)


def test_a_stop_while_training_reaches_every_rank_and_is_a_free_retry(agent):
    running = agent(
        """
def stop(*_):
    rank_state.write(told, {"state": "Stopped", "step": 12, "consumed": 24, "checkpoint": {"step": 12}})
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
rank_state.write(told, {"state": "Training"})
open(f"%s/ready-{rank}" % os.path.dirname(__file__), "w").close()
time.sleep(600)
"""
    )
    running.wait_for("ready-0")
    running.wait_for("ready-1")
    running.process.send_signal(signal.SIGTERM)
    code, message, _ = running.end()
    assert code == 75
    assert message["outcome"] == "Stopped"
    assert message["checkpoint"] == {"step": 12}
    assert message["class"] is None


def test_a_stop_before_the_first_step_ends_at_once(agent):
    running = agent(
        """
rank_state.write(told, {"state": "Starting"})
open(f"%s/ready-{rank}" % os.path.dirname(__file__), "w").close()
time.sleep(600)
"""
    )
    running.wait_for("ready-0")
    running.wait_for("ready-1")
    running.process.send_signal(signal.SIGTERM)
    code, message, _ = running.end()
    # Its ranks do not hear of it: had it waited for them, the end of the grace had killed them.
    assert (code, message["outcome"], message["class"]) == (75, "Stopped", None)


def test_a_rank_that_ignores_the_stop_is_cut_when_the_grace_ends(agent):
    running = agent(
        """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
rank_state.write(told, {"state": "Training", "checkpoint": {"step": 4}})
open(f"%s/ready-{rank}" % os.path.dirname(__file__), "w").close()
time.sleep(600)
""",
        PREAMAR_GRACE_SECONDS="2",
    )
    running.wait_for("ready-0")
    running.wait_for("ready-1")
    running.process.send_signal(signal.SIGTERM)
    code, message, _ = running.end()
    assert (code, message["outcome"], message["class"]) == (1, "Failed", "Killed")
    assert message["checkpoint"] == {"step": 4}
    assert "within the 2 seconds" in message["explanation"]


def test_a_master_that_never_comes_is_a_lost_peer_after_the_deadline(agent):
    code, message, _ = agent(
        "", MASTER_ADDR="gpt-1-0.gpt-ranks.invalid", PREAMAR_GANG_SECONDS="1"
    ).end()
    assert (code, message["class"]) == (1, "PeerLost")
    assert "gpt-1-0.gpt-ranks.invalid" in message["explanation"]


def test_a_stop_while_waiting_for_the_master_ends_at_once(agent):
    running = agent("", MASTER_ADDR="gpt-1-0.gpt-ranks.invalid")
    running.wait_until_it_hears(signal.SIGTERM)
    time.sleep(0.5)  # by now it waits, if the machine is not busy
    running.process.send_signal(signal.SIGTERM)
    code, message, _ = running.end(20)
    assert (code, message["outcome"]) == (75, "Stopped")


def test_a_bad_environment_is_told_in_the_message(agent):
    code, message, _ = agent("", WORLD_SIZE="many").end()
    assert (code, message["class"]) == (1, "ConfigError")
    assert "WORLD_SIZE" in message["explanation"]


def test_a_crash_without_words_is_explained_by_its_last_line(agent):
    code, message, output = agent("print('x' * 100_000); raise KeyError('lost')").end()
    assert (code, message["class"]) == (1, "Unknown")
    assert "KeyError: 'lost'" in message["explanation"]
    assert output.count("x" * 1000) >= 100


def test_progress_is_served_while_training(agent):
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    running = agent(
        """
time.sleep(1.5)
if rank == 0:
    rank_state.write(told, {"state": "Training", "step": 5, "steps": 40, "loss": "2.5", "secret": 1})
open(f"%s/ready-{rank}" % os.path.dirname(__file__), "w").close()
time.sleep(600)
""",
        PREAMAR_AGENT_PORT=str(port),
    )

    def asked() -> dict:
        deadline = time.monotonic() + 10
        while True:
            try:
                with urllib.request.urlopen(
                    f"http://127.0.0.1:{port}/progress", timeout=5
                ) as answer:
                    return json.load(answer)
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.05)

    first = asked()
    assert (first["state"], first["attempt"], first["step"], first["steps"]) == (
        "Starting",
        3,
        0,
        40,
    )
    running.wait_for("ready-0")
    then = asked()
    assert (then["state"], then["step"], then["loss"]) == ("Training", 5, "2.5")
    assert "secret" not in then


BEATS = """
import faulthandler
stacks = told.with_suffix(".stack").open("w")
faulthandler.register(signal.SIGUSR1, file=stacks, all_threads=True)
heart = beat.Beat(beat.of_state(told))
heart.phase("Training")
for step in range(1, 6):
    time.sleep(0.05)
    heart.stepped(step)
"""


def test_a_rank_that_stands_still_is_found_named_and_ended(agent):
    code, message, output = agent(
        BEATS
        + """
def endless():
    while rank == 1 or step < 5000:
        time.sleep(0.05)
        if rank == 0:
            heart.stepped(step)
endless()
""",
        PREAMAR_HANG_SECONDS="2",
    ).end()
    assert (code, message["class"], message["rank"]) == (1, "Hung", 1)
    assert message["failedStep"] == 6
    assert "took no step for" in message["explanation"]
    assert "stands in endless (rank.py:" in message["explanation"]
    assert "[rank 1] Current thread" in output


def test_who_waits_in_an_exchange_is_not_the_one_that_hangs(agent, tmp_path):
    exchange = tmp_path / "torch/distributed"
    exchange.mkdir(parents=True)
    (exchange / "waiting.py").write_text("import time\ndef all_reduce(): time.sleep(600)\n")
    text = f"""
sys.path.insert(0, {str(exchange)!r})
import waiting
def forward():
    time.sleep(600)
forward() if rank == 1 else waiting.all_reduce()
"""
    code, message, _ = agent(BEATS + text, PREAMAR_HANG_SECONDS="1").end()
    assert (code, message["class"], message["rank"]) == (1, "Hung", 1)
    assert "Rank 1 took no step" in message["explanation"]
    assert message["explanation"].endswith("Waiting in an exchange: rank 0.")
    assert message["waits"] is False


def test_a_pod_whose_ranks_all_wait_lets_another_pod_name_the_cause_and_then_says_so(
    agent, tmp_path
):
    exchange = tmp_path / "torch/distributed"
    exchange.mkdir(parents=True)
    (exchange / "waiting.py").write_text("import time\ndef all_reduce(): time.sleep(600)\n")
    begun = time.monotonic()
    code, message, _ = agent(
        BEATS + f"sys.path.insert(0, {str(exchange)!r})\nimport waiting\nwaiting.all_reduce()\n",
        WORLD_SIZE="4",
        PREAMAR_HANG_SECONDS="1",
    ).end()
    assert (code, message["class"], message["waits"]) == (1, "Hung", True)
    assert "wait for a rank of another pod" in message["explanation"]
    assert time.monotonic() - begun > 6


def test_a_frozen_rank_is_named_though_it_cannot_say_where_it_stands(agent):
    code, message, _ = agent(
        BEATS
        + """
if rank == 1:
    os.kill(os.getpid(), signal.SIGSTOP)
for _ in range(2000):
    time.sleep(0.05)
    heart.stepped(step)
""",
        PREAMAR_HANG_SECONDS="1",
    ).end()
    assert (code, message["class"], message["rank"]) == (1, "Hung", 1)
    assert "it is stopped" in message["explanation"]


def test_a_rank_that_saves_or_has_no_beats_is_not_taken_for_hanging(agent):
    code, message, _ = agent(
        BEATS
        + """
if rank == 1:
    heart.phase("Saving", 5)
else:
    beat.of_state(told).unlink()
time.sleep(4)
""",
        PREAMAR_HANG_SECONDS="1",
    ).end()
    assert (code, message["outcome"]) == (0, "Done")


def test_the_step_of_a_killed_rank_is_known_to_the_step(agent):
    code, message, _ = agent(
        BEATS
        + """
rank_state.write(told, {"state": "Training", "step": 2})
if rank == 1:
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep(600)
"""
    ).end()
    assert (code, message["class"]) == (1, "Killed")
    assert (message["step"], message["failedStep"]) == (5, 6)


TOKEN = "a" * 64
STOPS = """
def stop(*_):
    saved = os.path.join(os.path.dirname(__file__), "saved")
    for _ in range(1000):
        if os.path.exists(saved):
            break
        time.sleep(0.01)
    rank_state.write(told, {"state": "Stopped", "step": 12, "consumed": 24, "checkpoint": {"step": 12}})
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
rank_state.write(told, {"state": "Training"})
open(f"%s/ready-{rank}" % os.path.dirname(__file__), "w").close()
time.sleep(600)
"""


def port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def posted(at: int, path: str, token: str | None, body: bytes = b'{"reason": "UserAsked"}') -> int:
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    request = urllib.request.Request(f"http://127.0.0.1:{at}{path}", data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def ordering(agent, **env: str):
    at = port()
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    running = agent(STOPS, **{"PREAMAR_AGENT_PORT": str(at), "PREAMAR_STOP_SHA256": digest, **env})
    running.wait_for("ready-0")
    running.wait_for("ready-1")
    return running, at


def test_an_order_with_the_right_token_stops_the_ranks_however_often_it_comes(agent):
    running, at = ordering(agent)
    assert [posted(at, "/stop", TOKEN) for _ in range(2)] == [202, 202]
    (running.folder / "saved").touch()  # until the ranks have saved, their agent answers
    code, message, output = running.end()
    assert (code, message["outcome"], message["checkpoint"]) == (75, "Stopped", {"step": 12})
    assert output.count("a stop was ordered: UserAsked") == 1


def test_nobody_without_the_token_stops_anything(agent):
    running, at = ordering(agent)
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    for token in (None, "", "b" * 64, digest, TOKEN[:-1]):
        assert posted(at, "/stop", token) == 401
    assert posted(at, "/stop", TOKEN, b"[]") == 400
    assert posted(at, "/stop", TOKEN, b"{" * 3000) == 400
    assert posted(at, "/stop", TOKEN, b" " * 5000) == 413
    assert posted(at, "/progress", TOKEN) == 404
    assert running.process.poll() is None


def test_an_agent_that_was_given_no_digest_can_only_be_stopped_by_a_signal(agent):
    running, at = ordering(agent, PREAMAR_STOP_SHA256="")
    empty = hashlib.sha256(b"").hexdigest()
    assert [posted(at, "/stop", token) for token in (TOKEN, "", empty)] == [401, 401, 401]
    assert running.process.poll() is None


def test_an_ordered_stop_has_no_kill_behind_it_and_a_signal_has(agent):
    at = port()
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    running = agent(
        """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
rank_state.write(told, {"state": "Training", "checkpoint": {"step": 4}})
open(f"%s/ready-{rank}" % os.path.dirname(__file__), "w").close()
time.sleep(600)
""",
        PREAMAR_GRACE_SECONDS="1",
        PREAMAR_AGENT_PORT=str(at),
        PREAMAR_STOP_SHA256=digest,
    )
    running.wait_for("ready-0")
    running.wait_for("ready-1")
    assert posted(at, "/stop", TOKEN) == 202
    time.sleep(2.5)
    assert running.process.poll() is None
    running.process.send_signal(signal.SIGTERM)
    code, message, _ = running.end()
    assert (code, message["class"]) == (1, "Killed")


def test_a_plain_program_knows_its_place_and_may_end_by_itself_when_a_stop_is_asked(agent):
    text = """
names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_SIZE", "MASTER_ADDR", "MASTER_PORT")
place = [os.environ[name] for name in names]
def leave(*_):
    open(os.path.join(os.path.dirname(__file__), f"left-{rank}"), "w").write(json.dumps(place))
    sys.exit(75)
signal.signal(signal.SIGTERM, leave)
open(os.path.join(os.path.dirname(__file__), f"ready-{rank}"), "w").close()
time.sleep(60)
"""
    started = agent(text)
    for rank in (0, 1):
        started.wait_for(f"ready-{rank}")
    started.process.send_signal(signal.SIGTERM)
    code, message, _ = started.end()
    assert (code, message["outcome"]) == (75, "Stopped")
    places = [json.loads((started.folder / f"left-{rank}").read_text()) for rank in (0, 1)]
    assert places == [[str(rank), "2", str(rank), "2", "127.0.0.1", "29500"] for rank in (0, 1)]
