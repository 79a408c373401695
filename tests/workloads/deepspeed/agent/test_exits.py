"""How a rank ended, told from what it left.

Holds: preamar_train/agent/exits.py, preamar_train/agent/memory.py, preamar_train/agent/message.py,
preamar_train/failures.py
"""

import pytest
from preamar_train.agent import memory, message
from preamar_train.agent.exits import Exit, ExitVerdict, signal_of, verdict, worst
from preamar_train.failures import Class, TrainerFailure, classify


@pytest.mark.parametrize(
    ("code", "oom", "lines", "kind", "words"),
    [
        (-9, False, (), Class.KILLED, "killed from outside (SIGKILL)"),
        (137, False, (), Class.KILLED, "SIGKILL"),
        (247, False, (), Class.KILLED, "SIGKILL"),
        (-9, True, (), Class.OUT_OF_MEMORY, "Raise the memory limit"),
        (-15, True, (), Class.KILLED, "SIGTERM"),
        (-7, False, (), Class.SHARED_MEMORY, "/dev/shm is too small"),
        (249, False, (), Class.SHARED_MEMORY, "SIGBUS"),
        (-11, False, (), Class.UNKNOWN, "crashed (SIGSEGV)"),
        (-6, False, ("terminate called", "Connection closed by peer"), Class.PEER_LOST, "peers"),
        (1, False, ("ValueError: odd", ""), Class.UNKNOWN, "exited with code 1: ValueError: odd"),
        (3, False, (), Class.UNKNOWN, "it said nothing"),
    ],
)
def test_an_exit_code_and_its_surroundings_give_a_class(code, oom, lines, kind, words):
    found = verdict(Exit(3, code), {}, lines, oom=oom)
    assert found.kind is kind
    assert words in found.explanation
    assert "ank 3" in found.explanation


def test_a_rank_that_knew_why_it_failed_is_believed():
    told = {"failure": {"class": "DataError", "explanation": "No text."}}
    assert verdict(Exit(0, 1), told, (), oom=False) == ExitVerdict(0, Class.DATA_ERROR, "No text.")


def test_ordinary_codes_are_no_signals():
    assert [signal_of(code) for code in (0, 1, 2, 64, 75, 128)] == [None] * 6


def test_the_cause_is_told_from_its_echo():
    echo = ExitVerdict(0, Class.PEER_LOST, "lost")
    cause = ExitVerdict(1, Class.KILLED, "killed")
    assert worst([echo, cause]) is cause
    assert worst([echo]) is echo


@pytest.mark.parametrize(
    ("files", "files_after", "grew"),
    [
        ({"memory.events": "low 0\noom 1\noom_kill 0\n"}, {"memory.events": "oom_kill 1\n"}, True),
        ({"memory.events": "oom_kill 2\n"}, {"memory.events": "oom_kill 2\n"}, False),
        (
            {"memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n"},
            {"memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"},
            True,
        ),
        ({"memory/memory.failcnt": "5\n"}, {"memory/memory.failcnt": "9\n"}, True),
        ({"memory/memory.failcnt": "5\n"}, {"memory/memory.failcnt": "5\n"}, False),
        ({}, {}, False),
    ],
)
def test_the_kernels_count_of_memory_kills_is_read_in_each_version(
    tmp_path, files, files_after, grew
):
    counts = []
    for state in (files, files_after):
        for name, text in state.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        counts.append(memory.count(tmp_path))
    assert memory.grew(*counts) is grew


def test_a_message_stays_json_within_four_kibibytes(tmp_path):
    import json

    words = message.compose("Failed", 1, {"step": 7}, kind="Unknown", explanation="ä" * 9000)
    message.write(tmp_path / "log", words)
    data = (tmp_path / "log").read_bytes()
    assert len(data) <= 4096
    assert json.loads(data)["step"] == 7
    assert json.loads(data)["explanation"].startswith("äää")


class DistNetworkError(RuntimeError):
    """Named as torch names its own."""


class DeepSpeedConfigError(Exception):
    """Named as DeepSpeed names its own."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), Class.OUT_OF_MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), Class.OUT_OF_MEMORY),
        (
            RuntimeError("[../gloo/transport/tcp/pair.cc] Connection closed by peer"),
            Class.PEER_LOST,
        ),
        (RuntimeError("Timed out waiting 8000ms for recv operation"), Class.PEER_LOST),
        (DistNetworkError("could not connect"), Class.PEER_LOST),
        (DeepSpeedConfigError("no"), Class.CONFIG_ERROR),
        (RuntimeError("unable to mmap /dev/shm/torch_1"), Class.SHARED_MEMORY),
        (TrainerFailure(Class.DATA_ERROR, "x"), Class.DATA_ERROR),
        (ValueError("odd"), Class.UNKNOWN),
    ],
)
def test_what_libraries_raise_gets_a_class(error, kind):
    assert classify(error).kind is kind
