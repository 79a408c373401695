"""What the container's limits say: threads for a model, and deaths for lack of memory.

Holds: preamar_model/__main__.py, preamar_model/backends/threads.py, preamar_model/serve/deaths.py,
preamar_model/serve/last_error.py
"""

import subprocess
import sys

import pytest
from preamar_model.backends import threads
from preamar_model.serve import deaths
from preamar_model.serve.command import forget_shared_memory
from preamar_model.serve.last_error import LastError
from running import environment


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({"cpu.max": "150000 100000"}, 1.5),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)
def test_a_cpu_limit_is_read_from_either_version(tmp_path, files, cpus):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert threads.cpu_limit(tmp_path) == cpus


def test_threads_are_what_the_pod_was_told(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads.per_instance(2) == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "0")
    assert threads.per_instance(1000) == 1


@pytest.mark.parametrize("name", ["memory.events", "memory.oom_control"])
def test_a_kill_for_memory_is_said_with_the_limit(tmp_path, monkeypatch, name):
    counter, limit = tmp_path / name, tmp_path / "limit"
    counter.write_text("low 0\noom_kill 1\n")
    limit.write_text(str(256 << 20))
    monkeypatch.setattr(deaths, "COUNTERS", (tmp_path / "absent", counter))
    monkeypatch.setattr(deaths, "LIMITS", (limit,))
    watch = deaths.OutOfMemory()
    assert watch.sentence() is None
    counter.write_text("low 0\noom_kill 2\n")
    assert "ran out of memory" in watch.sentence()
    assert "256 MiB" in watch.sentence()


def test_only_living_stubs_of_this_server_count(tmp_path):
    rows = {
        10: (deaths.STUB, "S", 5),
        11: (deaths.STUB, "Z", 5),
        12: ("bash", "S", 5),
        13: (deaths.STUB, "S", 6),
    }
    for number, (name, state, ancestor) in rows.items():
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "stat").write_text(f"{number} ({name}) {state} {ancestor} 0 0")
    assert deaths.stubs(5, tmp_path) == {10}


def test_the_first_failed_model_is_the_cause_and_its_words_are_plain():
    heard = LastError()
    heard.hear(
        '2026-11-23T10:00:00Z E 1 server.cc:241] "CudaDriverHelper has not been initialized."'
    )
    heard.hear(
        "2026-11-23T10:00:00Z E 1 model_lifecycle.cc:642] \"failed to load 'm' version 1: Internal: "
        'ValueError: no such file\\n\\nAt:\\n  /models/m/1/model.py(3): initialize\\n"'
    )
    assert heard.sentence(1) == "The model m does not load: ValueError: no such file"
    assert LastError().sentence(-9) == "Triton was killed, most likely for memory."


def test_triton_is_done_when_the_last_of_its_models_is_unloaded():
    heard = LastError()
    log = (
        "loaded 'm'",
        "loaded 'm-graph'",
        "unloaded 'm' version 1",
        "unloaded 'm-graph' version 1",
    )
    told = []
    for line in log:
        heard.hear(f'2026-11-23T10:00:00Z I 1 model_lifecycle.cc:624] "successfully {line}"')
        told.append(heard.unloaded)
    assert told == [False, False, False, True]


def test_the_command_says_how_it_is_used():
    done = subprocess.run(
        [sys.executable, "-m", "preamar_model"],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "usage" in done.stderr) == (2, True)


def test_only_what_a_crashed_server_left_is_forgotten(tmp_path):
    for name in ("triton_python_backend_shm_region_1", "somebody_elses"):
        (tmp_path / name).write_text("")
    forget_shared_memory(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["somebody_elses"]
