"""An engine is judged, measured and published, and what cannot be built is refused.

Holds: preamar_model/engine/workshop.py
"""

import json
import sys

import onnx
import pytest
from engines import L4, Bench, order
from networks import optimize, record
from preamar_model.engine import metadata, workshop
from preamar_model.passes.session import Session


@pytest.mark.parametrize("precision", ["None", "FP16", "INT8", "FP8"])
def test_an_engine_is_published_with_where_it_runs_and_a_graph_beside_it(
    bench, tmp_path, precision
):
    done = optimize(order(tmp_path, precision=precision, tolerance="0.2"), tmp_path / "message")
    assert done.code == 0, done.log
    target = tmp_path / "out/m/NVIDIA-L4"
    assert done.told["engine"] == {"product": "NVIDIA-L4", "tensorrt": "11.4.0.106"}
    told = json.loads((target / metadata.METADATA).read_text())
    assert told["where"] == metadata.place("11.4.0.106", L4)
    assert metadata.mismatch(target, told["where"], 8) is None
    assert {"model.plan", "engine.json", "model.onnx"} <= set(record(target)["files"])
    kinds = {w.data_type for w in onnx.load(target / "model.onnx").graph.initializer}
    assert kinds == {onnx.TensorProto.FLOAT}
    again = optimize(order(tmp_path, precision=precision, tolerance="0.2"), tmp_path / "message")
    assert again.told["cached"] is True


def test_an_engine_that_answers_otherwise_is_not_published(bench, tmp_path):
    done = optimize(order(tmp_path, tolerance="0.00001"), tmp_path / "message")
    assert (done.code, done.told["reason"]) == (64, "OptimizationTooInaccurate")
    assert [path.name for path in (tmp_path / "out/m").iterdir()] == []


def test_the_gate_judges_the_engine_and_not_the_graph(bench, tmp_path, monkeypatch):
    class Broken(Session):
        def __call__(self, feed, outputs=None):
            return {name: value * 2 for name, value in super().__call__(feed, outputs).items()}

    monkeypatch.setattr(Bench, "session", lambda *a: Broken(str(a[3])))
    done = optimize(order(tmp_path, precision="FP16"), tmp_path / "message")
    assert (done.code, done.told["reason"]) == (64, "OptimizationTooInaccurate")


def test_without_a_gpu_the_job_is_tried_again_and_says_what_is_missing(tmp_path, trt, monkeypatch):
    monkeypatch.setattr(workshop, "package", lambda: trt)
    done = optimize(order(tmp_path), tmp_path / "message")
    assert done.code == 1
    assert "no GPU driver" in done.told


def test_an_image_without_tensorrt_is_the_users_to_change(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt_bindings", None)
    done = optimize(order(tmp_path), tmp_path / "message")
    assert (done.code, done.told["reason"]) == (64, "OptimizationUnsupported")
    assert "This image has no TensorRT" in done.told["message"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"accelerator": "CPU"}, "GPU"),
        ({"task": "Generate"}, "Decoders"),
        ({"precision": "FP4"}, "ModelOpt"),
        ({"precision": "FP8", "engine": "None"}, "TensorRT"),
    ],
)
def test_what_tensorrt_is_not_asked_for_here_is_refused(tmp_path, more, said):
    done = optimize(order(tmp_path) | more, tmp_path / "message")
    assert (done.code, done.told["reason"]) == (64, "OptimizationUnsupported")
    assert said in done.told["message"]
