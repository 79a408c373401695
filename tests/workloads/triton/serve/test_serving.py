"""What ends a server, what it says then, and what it does not let in.

Holds: preamar_model/serve/callers.py, preamar_model/serve/command.py
"""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import graphs
import numpy as np
import pytest
from preamar_model.build.command import build
from preamar_model.order import BuildSpec
from preamar_model.serve.deaths import stubs
from running import environment

from tests.workloads.triton.build.test_refusals import trusted

FAILING = """
class TritonPythonModel:
    def initialize(self, args):
        raise ValueError("the weights do not fit the config")
"""
DYING = """
import os, signal
class TritonPythonModel:
    def initialize(self, args):
        os.kill(os.getpid(), signal.SIGKILL)
"""
SLOW = """
import os, time
from pathlib import Path
import triton_python_backend_utils as utils
class TritonPythonModel:
    def execute(self, requests):
        Path(os.environ["PREAMAR_TERMINATION_LOG"]).with_name("asked").touch()
        time.sleep(1)
        return [utils.InferenceResponse([utils.Tensor("y", utils.get_input_tensor_by_name(r, "x").as_numpy())]) for r in requests]
"""


def python_model(tmp_path: Path, body: str, name: str = "m") -> Path:
    source = trusted(tmp_path / "code", body)
    build(BuildSpec(name, str(source), trust="Code"), tmp_path / "models")
    return tmp_path / "models"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "said"), [(FAILING, "the weights do not fit the config"), (DYING, "m")]
)
def test_a_model_that_fails_while_loading_ends_the_container_with_its_words(
    tmp_path, alone, body, said
):
    running = alone(python_model(tmp_path, body))
    assert running.process.wait(30) not in {0, 64}
    message = running.message.read_text()
    assert said in message
    assert "\n" not in message
    assert "Traceback" not in message
    assert len(message) < 400


@pytest.mark.slow
def test_a_model_that_dies_while_serving_does_not_stay_ready(tmp_path, alone):
    build(BuildSpec("m", str(graphs.batched(tmp_path / "m.onnx"))), tmp_path / "models")
    running = alone(tmp_path / "models")
    running.wait(["m"])
    server = next(
        int(p.name) for p in Path("/proc").iterdir()
        if p.name.isdigit() and parent(p) == running.process.pid
    )  # fmt: skip
    (stub,) = stubs(server)
    os.kill(stub, signal.SIGKILL)
    assert running.process.wait(15) != 0
    assert "died" in running.message.read_text()


def parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


@pytest.mark.slow
def test_what_was_asked_before_the_end_is_answered(tmp_path, alone):
    running = alone(python_model(tmp_path, SLOW), PREAMAR_DRAIN_SECONDS="25")
    running.wait(["m"])
    got = {}
    tensor = {"name": "x", "datatype": "INT32", "shape": [1], "data": [5]}
    caller = threading.Thread(
        target=lambda: got.update(
            zip(("status", "answer"), running.infer("m", tensor), strict=True)
        )
    )
    caller.start()
    while not (tmp_path / "asked").exists():
        assert caller.is_alive()
        time.sleep(0.02)
    running.process.terminate()
    caller.join(20)
    assert got["status"] == 200, got
    assert got["answer"]["y"]["data"] == [5]
    assert running.process.wait(40) == 0


TALKING = """
import json, threading, time
import numpy as np
import triton_python_backend_utils as utils
class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            threading.Thread(target=self.talk, args=(request,)).start()
    def talk(self, request):
        given = utils.get_input_tensor_by_name(request, "REQUEST").as_numpy().flat[0]
        sender = request.get_response_sender()
        for left in reversed(range(json.loads(given)["max_tokens"])):
            time.sleep(0.1)
            told = np.array([b"" if left else b"length"], dtype=object)
            sender.send(utils.InferenceResponse([utils.Tensor("FINISH_REASON", told)]))
        sender.send(flags=utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
STREAMS = """
backend: "python"
model_transaction_policy { decoupled: true }
input [ { name: "REQUEST" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "FINISH_REASON" data_type: TYPE_STRING dims: [ 1 ] } ]
"""


def talking(tmp_path: Path, alone, seconds: str):
    source = trusted(tmp_path / "code", TALKING)
    (source / "config.pbtxt").write_text(STREAMS)
    build(BuildSpec("m", str(source), trust="Code"), tmp_path / "models")
    running = alone(tmp_path / "models", PREAMAR_DRAIN_SECONDS=seconds)
    running.wait(["m"])
    return running


@pytest.mark.slow
def test_streams_end_and_whoever_has_not_heard_is_served_until_then(tmp_path, alone):
    running = talking(tmp_path, alone, "25")
    stream = iter(running.stream("m", max_tokens=20))
    next(stream)
    running.process.terminate()
    time.sleep(0.5)
    assert [e["FINISH_REASON"] for e in running.stream("m", max_tokens=2)] == ["", "length"]
    assert [e["FINISH_REASON"] for e in stream][-1] == "length"
    assert running.process.wait(60) == 0
    assert "connections cut" not in running.log.read_text(), "it waited for more than its callers"


@pytest.mark.slow
def test_what_does_not_end_in_time_is_cut_in_time(tmp_path, alone):
    running = talking(tmp_path, alone, "1")
    stream = iter(running.stream("m", max_tokens=100))
    next(stream)
    running.process.terminate()
    rest = [e["FINISH_REASON"] for e in stream]
    assert not any(rest)
    assert len(rest) < 100, "it was heard to the end"
    assert running.process.wait(60) == 1
    assert "1 connections cut after 1 s" in running.log.read_text()


PREPARING = """
import sys, time
from preamar_model import __main__
from preamar_model.build import command
command.orders.read = lambda _: print("begun", flush=True) or time.sleep(60)
sys.argv = ["preamar-model", "build"]
sys.exit(__main__.main())
"""


def test_a_model_that_is_no_longer_wanted_is_not_prepared_to_the_end():
    """As PID 1 it would not even hear the signal, had it no handler of its own."""
    command = [sys.executable, "-c", PREPARING]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE) as preparing:
        assert preparing.stdout.readline() == b"begun\n"
        preparing.terminate()
        assert preparing.wait(5) == 143


def test_administration_is_closed(served):
    closed = [
        ("POST", "/v2/repository/index"),
        ("POST", "/v2/repository/models/minilm/unload"),
        ("GET", "/v2/systemsharedmemory/status"),
        ("POST", "/v2/systemsharedmemory/region/x/register"),
        ("GET", "/v2/trace/setting"),
        ("POST", "/v2/logging"),
    ]
    for method, path in closed:
        assert served.call(method, path, {})[0] == 403, path
    assert served.get("/v2/models/minilm/stats")[0] == 200
    assert served.ready("minilm")


STAND_IN = """
import os, sys
sys.path.extend(p for p in os.environ["PREAMAR_PYTHONPATH"].split(os.pathsep) if p not in sys.path)
import numpy as np
import onnxruntime
import triton_python_backend_utils as utils

class TritonPythonModel:
    def initialize(self, args):
        path = args["model_repository"] + "/1/model.onnx/model.onnx"
        self.session = onnxruntime.InferenceSession(path)
        self.names = [i.name for i in self.session.get_inputs()]
        self.calls = args["model_repository"] + "/calls"

    def execute(self, requests):
        answers = []
        for request in requests:
            feed = {n: utils.get_input_tensor_by_name(request, n).as_numpy() for n in self.names}
            with open(self.calls, "a") as said:
                ones = "attention_mask" not in feed or feed["attention_mask"].all()
                print(feed["input_ids"].shape, ones, file=said)
            names = list(request.requested_output_names())
            given = self.session.run(names, feed)
            answers.append(utils.InferenceResponse([utils.Tensor(n, v) for n, v in zip(names, given)]))
        return answers
"""


def test_the_models_in_front_work_over_a_graph_of_its_own(
    tmp_path, encoder_source, decoder_source, served
):
    """The layout for GPUs, with a stand-in for NVIDIA's ONNX Runtime backend, which needs one."""
    names = ("front-tiny", "front-story")
    for name, source, task in zip(
        names, (encoder_source, decoder_source), ("Embed", "Generate"), strict=True
    ):
        build(BuildSpec(name, str(source), task=task, accelerator="GPU"), tmp_path / name)
        graph = tmp_path / name / f"{name}-graph"
        text = (graph / "config.pbtxt").read_text()
        text = text.replace('"onnxruntime"', '"python"').replace("KIND_GPU", "KIND_CPU")
        (graph / "config.pbtxt").write_text(
            text.replace('default_model_filename: "model.onnx"', "")
        )
        (graph / "1/model.py").write_text(STAND_IN)
        served.invite(tmp_path / name, f"{name}-graph", name)
    warmed = [(served.models / f"{name}-graph/calls").read_text() for name in names]
    # The last of each is the largest that Triton was asked to try before anybody could call.
    assert warmed == ["(1, 1) True\n(8, 16) True\n", "(1, 1) True\n(1, 511) True\n"]
    rows, counts = served.embed("a b c", "d", model=names[0])
    wanted, same = served.embed("a b c", "d", model="tiny")
    assert counts == same
    assert np.array(rows) == pytest.approx(np.array(wanted), abs=2e-5)
    wish = {"prompt": "Once", "max_tokens": 20, "temperature": 0}
    assert list(served.stream(names[1], **wish))[-1]["OUTPUT_TOKENS"] == 20
    told = ["".join(e["TEXT"] for e in served.stream(n, **wish)) for n in (names[1], "story")]
    assert told[0] == told[1]
