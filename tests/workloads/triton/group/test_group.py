"""A model that two processes compute together answers as one, and its parts live and end together.

Holds: preamar_model/group/channel.py, preamar_model/group/split.py, preamar_model/group/stages.py
"""

import http.client
import signal
import socket

import numpy as np
import onnx
import onnxruntime
import pytest
from groups import SECRET, Grouped, until
from networks import layered
from preamar_model.group import channel
from preamar_model.group.stages import StagePlan, cut
from running import build_here as build

ROWS = np.random.default_rng(5).standard_normal((3, 4, 32)).astype(np.float32)


@pytest.fixture
def group(tmp_path):
    layered(tmp_path / "net.onnx")
    made = Grouped({"name": "net", "source": str(tmp_path / "net.onnx")}, tmp_path)
    yield made
    made.stop()


def asked(running, rows=ROWS):
    told = {
        "name": "x",
        "shape": list(rows.shape),
        "datatype": "FP32",
        "data": rows.ravel().tolist(),
    }
    status, answer = running.infer("net", told)
    assert status == 200, answer
    return np.array(answer["y"]["data"], np.float32).reshape(answer["y"]["shape"])


def health(port) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def listens(port) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def whole(path, rows=ROWS):
    return onnxruntime.InferenceSession(str(path)).run(["y"], {"x": rows})[0]


def test_two_pods_answer_as_one_and_neither_has_the_whole_model(group, tmp_path):
    group.work()
    running = group.lead()
    running.wait(["net"])
    np.testing.assert_allclose(asked(running), whole(tmp_path / "net.onnx"), rtol=1e-5, atol=1e-6)
    held = [
        {t.name for t in onnx.load(tmp_path / side / "net/1/model.onnx").graph.initializer}
        for side in ("leader", "worker")
    ]
    assert held[0]
    assert held[1]
    assert not held[0] & held[1]


@pytest.mark.slow
def test_the_leader_is_ready_only_while_its_group_is_whole(group):
    running = group.lead()
    until(lambda: health(group.leader_health) == 503)
    assert not running.ready("net")
    worker = group.work()
    until(lambda: health(group.leader_health) == 200)
    assert health(group.worker_health) == 200
    worker.kill()
    until(lambda: health(group.leader_health) != 200)
    assert running.process.wait(10) == 75
    assert "Worker 1 is gone" in running.message.read_text()


@pytest.mark.slow
def test_a_worker_that_is_told_to_go_stays_until_the_callers_have_left(group):
    worker, running = group.work(), group.lead()
    until(lambda: health(group.leader_health) == 200)
    worker.send_signal(signal.SIGTERM)
    until(lambda: health(group.leader_health) == 503)
    assert asked(running).shape == ROWS.shape
    assert worker.poll() is None
    assert running.process.wait(30) == 75
    assert worker.wait(10) == 0
    assert "Worker 1 leaves" in running.message.read_text()


@pytest.mark.slow
def test_a_worker_ends_within_seconds_when_its_leader_does(group):
    worker, running = group.work(), group.lead()
    until(lambda: health(group.worker_health) == 200)
    running.process.kill()
    assert worker.wait(10) == 75
    assert "The leader is gone" in group.ended.read_text()


@pytest.mark.slow
def test_a_leader_whose_workers_do_not_come_says_so_and_ends(tmp_path):
    layered(tmp_path / "net.onnx")
    made = Grouped({"name": "net", "source": str(tmp_path / "net.onnx")}, tmp_path, seconds=2)
    try:
        running = made.lead()
        assert running.process.wait(20) == 75
        assert "did not come within 2 s" in running.message.read_text()
    finally:
        made.stop()


def test_who_does_not_know_the_secret_or_the_model_is_refused(group):
    group.work()
    until(lambda: listens(group.port))
    with pytest.raises(channel.Stranger):
        channel.connect("127.0.0.1", group.port, "another group")
    with socket.create_connection(("127.0.0.1", group.port)) as rude:
        rude.sendall(b"GET / HTTP/1.1\r\n\r\n" * 8)
    link = channel.connect("127.0.0.1", group.port, SECRET)
    channel.say(link, want="hold", plan="of another revision")
    assert "another revision" in channel.hear(link, 5)["error"]
    assert health(group.worker_health) == 503


def test_a_graph_is_cut_where_the_weights_are_even(tmp_path):
    runs = cut(onnx.load(layered(tmp_path / "net.onnx")).graph, 3)
    assert [sum(n.op_type == "MatMul" for n in run) for run in runs] == [1, 1, 1]


def test_a_graph_with_too_few_nodes_is_refused_in_words(tmp_path):
    layered(tmp_path / "net.onnx")
    order = {"name": "net", "source": str(tmp_path / "net.onnx"), "stages": 9}
    done = build(order, tmp_path / "models")
    assert done.code == 64
    assert "too few for 9 stages" in done.told["message"]


@pytest.mark.parametrize("task", ["Embed", "Generate"])
def test_text_models_are_split_too(task, tmp_path, encoder_source, decoder_source, served):
    source = encoder_source if task == "Embed" else decoder_source
    name = "tiny" if task == "Embed" else "story"
    made = Grouped({"name": name, "source": str(source), "task": task}, tmp_path)
    try:
        made.work()
        running = made.lead()
        running.wait([name])
        assert len(StagePlan.load(tmp_path / "leader" / name / "1").stages) == 2
        if task == "Embed":
            split, one = (each.embed("a b", "c", model=name) for each in (running, served))
            np.testing.assert_allclose(split[0], one[0], rtol=1e-4, atol=1e-5)
            assert split[1] == one[1]
        else:
            wish = {"prompt": "once", "max_tokens": 6, "temperature": 0.0}
            texts = [
                "".join(e.get("TEXT", "") for e in each.stream(name, **wish))
                for each in (running, served)
            ]
            assert texts[0] == texts[1] != ""
    finally:
        made.stop()
