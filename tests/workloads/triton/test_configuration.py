"""Model configurations against Triton's own schema, on both accelerators, and escaping."""

from pathlib import Path

import graphs
import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from preamar_model import pbtxt
from preamar_model.build import build
from preamar_model.order import Order
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup

unhurried = settings(deadline=None)  # shared machines pause for longer than a deadline allows


def config(path: Path) -> ModelConfig:
    return text_format.Parse((path / "config.pbtxt").read_text(), ModelConfig())


@unhurried
@given(st.text(max_size=50))
def test_any_text_survives_the_configuration(value):
    message = {"name": "m", "parameters": [{"key": "k", "value": {"string_value": value}}]}
    parsed = text_format.Parse(pbtxt.text(message), ModelConfig())
    assert parsed.parameters["k"].string_value == value


@pytest.mark.parametrize("delay", [0, 500])
def test_batching_says_no_more_than_a_delay(tmp_path, delay):
    source = graphs.batched(tmp_path / "m.onnx")
    build(
        Order("m", str(source), max_batch_size=32, max_delay_microseconds=delay, instances=2),
        tmp_path / "r",
    )
    found = config(tmp_path / "r/m")
    assert found.max_batch_size == 32
    assert found.HasField("dynamic_batching")
    assert found.dynamic_batching.max_queue_delay_microseconds == delay
    assert not found.dynamic_batching.HasField("default_queue_policy")
    assert found.instance_group[0].count == 2
    assert found.instance_group[0].kind == ModelInstanceGroup.KIND_CPU


def test_time_is_no_batch(tmp_path):
    build(Order("m", str(graphs.over_time(tmp_path / "m.onnx"))), tmp_path / "r")
    found = config(tmp_path / "r/m")
    assert found.max_batch_size == 0
    assert list(found.input[0].dims) == [-1, 2]
    assert not found.HasField("dynamic_batching")


def test_on_a_gpu_a_graph_runs_in_nvidias_backend(tmp_path):
    build(Order("m", str(graphs.batched(tmp_path / "m.onnx")), accelerator="GPU"), tmp_path / "r")
    found = config(tmp_path / "r/m")
    assert (found.backend, found.instance_group[0].kind) == (
        "onnxruntime",
        ModelInstanceGroup.KIND_GPU,
    )
    assert (tmp_path / "r/m/1/model.onnx/model.onnx").is_file()


@pytest.mark.parametrize("task", ["Embed", "Generate"])
def test_on_a_gpu_text_goes_through_a_model_in_front(tmp_path, minilm, decoder_source, task):
    source = minilm if task == "Embed" else decoder_source
    build(Order("m", str(source), task=task, accelerator="GPU"), tmp_path / "r")
    front, graph = config(tmp_path / "r/m"), config(tmp_path / "r/m-graph")
    assert (front.backend, front.parameters["graph"].string_value) == ("python", "m-graph")
    assert (graph.backend, graph.instance_group[0].kind) == (
        "onnxruntime",
        ModelInstanceGroup.KIND_GPU,
    )
    assert (tmp_path / "r/m-graph/1/model.onnx/model.onnx").is_file()
