"""Which engine does a pod serve, and what does it serve where none fits? Built by the real TensorRT; the
configurations are held against Triton's schema, for its TensorRT backend needs a GPU.

Holds: preamar_model/engine/choose.py
"""

import json
import shutil

import numpy as np
import pytest
import schema
from engines import L4, T4, Bench, open_bench, order
from networks import optimize
from preamar_model.engine import choose, metadata
from preamar_model.refusal import Refusal
from preamar_model.serve.command import completes
from running import build_here

from tests.workloads.triton.build import test_encoder


@pytest.fixture(scope="module")
def once(trt, tmp_path_factory):
    """An artefact in FP16 that was made for all tests: to be read."""
    with pytest.MonkeyPatch.context() as patch:
        open_bench(trt, patch)
        yield optimized(tmp_path_factory.mktemp("once"), precision="FP16")


@pytest.fixture
def halved(once, tmp_path):
    """A copy of it, to be changed."""
    return shutil.copytree(once, tmp_path / "out/m")


def optimized(tmp_path, **more):
    done = optimize(order(tmp_path, tolerance="0.2", **more), tmp_path / "message")
    assert done.code == 0, done.log
    return tmp_path / "out/m"


@pytest.fixture
def served(monkeypatch, tmp_path):
    """Builds the repository of a pod with such a GPU."""

    def build(root, gpu, version="11.4.0.106", **more):
        monkeypatch.setattr(choose, "here", lambda: metadata.place(version, gpu))
        wish = {"name": "m", "source": str(root), "accelerator": "GPU", "engine": "TensorRT"}
        done = build_here(wish | more, tmp_path / "models")
        assert done.code == 0, done.log
        return done, schema.configurations(tmp_path / "models")

    return build


def test_a_pod_serves_the_engine_of_its_gpu(once, tmp_path, served):
    done, found = served(once, L4, batching={"maxBatchSize": 4, "maxDelayMicroseconds": 50})
    assert (done.told["engine"], done.told["format"]) == ("TensorRT", "ONNX")
    (told,) = found.values()
    assert (told.backend, told.default_model_filename) == ("tensorrt", "model.plan")
    assert (told.max_batch_size, list(told.input[0].dims)) == (4, [4, 32])
    assert told.dynamic_batching.max_queue_delay_microseconds == 50
    plan = tmp_path / "models/m/1/model.plan"
    assert plan.read_bytes() == (once / "NVIDIA-L4/model.plan").read_bytes()
    assert [path.name for path in plan.parent.iterdir()] == ["model.plan"]
    assert not completes(tmp_path / "models")


def test_in_a_mixed_pool_each_product_has_its_own(bench, halved, tmp_path, served, monkeypatch):
    root = halved
    monkeypatch.setattr(Bench, "gpu_here", T4)
    assert optimized(tmp_path, precision="FP16") == root
    assert sorted(path.name for path in root.iterdir()) == ["NVIDIA-L4", "Tesla-T4"]
    for gpu in (L4, T4):
        served(root, gpu)
        told = json.loads((root / gpu.product / "engine.json").read_text())
        assert told["where"]["product"] == gpu.product
        plan = (tmp_path / "models/m/1/model.plan").read_bytes()
        assert plan == (root / gpu.product / "model.plan").read_bytes()


@pytest.mark.parametrize(
    ("gpu", "more", "why"),
    [
        (T4, {}, "this GPU is Tesla-T4, engines are for NVIDIA-L4"),
        (L4, {"version": "11.5.0.1"}, "it was built for tensorrt 11.4.0.106, here is 11.5.0.1"),
        (L4, {"batching": {"maxBatchSize": 64}}, "it was built for batches up to 8, not 64"),
    ],
)
def test_where_no_engine_fits_the_graph_is_served_and_the_pod_says_why(
    once, served, gpu, more, why
):
    done, found = served(once, gpu, **more)
    assert (done.told["engine"], done.told["why"]) == ("None", why)
    assert why in done.log
    (told,) = found.values()
    assert (told.backend, told.default_model_filename) == ("onnxruntime", "model.onnx")


def test_an_engine_that_is_damaged_is_not_served(halved, served):
    (halved / "NVIDIA-L4/model.plan").write_bytes(b"half")
    done, found = served(halved, L4)
    assert found["m"].backend == "onnxruntime"
    assert "not the one that was published" in done.told["why"]


def test_an_encoder_is_called_by_the_model_in_front(bench, tmp_path, served):
    test_encoder.write(tmp_path / "source", "bert", "gelu", np.float32, None, {})
    root = optimized(tmp_path, source=str(tmp_path / "source"), task="Embed", precision="FP16")
    _, found = served(root, L4, task="Embed")
    assert set(found) == {"m", "m-graph"}
    graph, front = found["m-graph"], found["m"]
    assert (graph.backend, graph.max_batch_size) == ("tensorrt", 0)
    assert [list(tensor.dims) for tensor in graph.input] == [[-1, -1]] * len(graph.input)
    names = front.parameters["graph_inputs"].string_value.split(",")
    assert {tensor.name for tensor in graph.input} == set(names)
    sizes = [dict(call.inputs)["input_ids"].dims for call in graph.model_warmup]
    (plan,) = root.glob("*/engine.json")
    least, _, most = json.loads(plan.read_text())["recipe"]["profiles"]["input_ids"]
    assert len(sizes) == 2
    for size in map(list, sizes):
        assert all(a <= n <= b for a, n, b in zip(least, size, most, strict=True))
    assert graph.output[0].name == front.parameters["graph_output"].string_value
    assert (tmp_path / "models/m/1/tokenizer.json").is_file()


def test_what_another_run_has_not_finished_is_no_engine(tmp_path):
    (tmp_path / ".NVIDIA-L4.optimizing").mkdir()
    (tmp_path / ".NVIDIA-L4.optimizing/model.onnx").touch()
    with pytest.raises(Refusal, match="made anew"):
        choose.choose(tmp_path, metadata.place("11.4.0.106", L4), 8)


def test_without_a_driver_a_pod_that_should_have_a_gpu_is_started_anew(tmp_path, trt, monkeypatch):
    monkeypatch.setattr("preamar_model.engine.workshop.package", lambda: trt)
    wish = {"name": "m", "source": str(tmp_path), "accelerator": "GPU", "engine": "TensorRT"}
    done = build_here(wish, tmp_path / "models")
    assert done.code == 1
    assert "no GPU driver" in done.told
