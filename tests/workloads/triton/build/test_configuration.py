"""Model configurations against Triton's own schema, on both accelerators, and escaping.

Holds: preamar_model/build/repository.py, preamar_model/build/tasks.py, preamar_model/build/warm.py,
preamar_model/files/pbtxt.py
"""

from pathlib import Path

import decoders
import graphs
import numpy as np
import onnxruntime
import pytest
import schema
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from preamar_model.build import warm
from preamar_model.build.command import build
from preamar_model.files import pbtxt
from preamar_model.order import BuildSpec
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup

from tests.hunting import examples


def config(path: Path) -> ModelConfig:
    return text_format.Parse((path / "config.pbtxt").read_text(), ModelConfig())


@examples(40, 1000)
@given(st.text(max_size=50))
def test_any_text_survives_the_configuration(value):
    message = {"name": "m", "parameters": [{"key": "k", "value": {"string_value": value}}]}
    parsed = text_format.Parse(pbtxt.text(message), ModelConfig())
    assert parsed.parameters["k"].string_value == value


@pytest.mark.parametrize("delay", [0, 500])
def test_batching_says_no_more_than_a_delay(tmp_path, delay):
    source = graphs.batched(tmp_path / "m.onnx")
    build(
        BuildSpec("m", str(source), max_batch_size=32, max_delay_microseconds=delay, instances=2),
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
    build(BuildSpec("m", str(graphs.over_time(tmp_path / "m.onnx"))), tmp_path / "r")
    found = config(tmp_path / "r/m")
    assert found.max_batch_size == 0
    assert list(found.input[0].dims) == [-1, 2]
    assert not found.HasField("dynamic_batching")


def test_on_a_gpu_a_graph_runs_in_nvidias_backend(tmp_path):
    build(
        BuildSpec("m", str(graphs.batched(tmp_path / "m.onnx")), accelerator="GPU"), tmp_path / "r"
    )
    found = config(tmp_path / "r/m")
    assert (found.backend, found.instance_group[0].kind) == (
        "onnxruntime",
        ModelInstanceGroup.KIND_GPU,
    )
    assert (tmp_path / "r/m/1/model.onnx/model.onnx").is_file()


def calls_of(found):
    """Each call that warms a model: its rows, and the shape of each input."""
    return [
        (call.batch_size, {n: tuple(each.dims) for n, each in call.inputs.items()})
        for call in found.model_warmup
    ]


def on_gpu(tmp_path, source, task="Infer", **more):
    build(BuildSpec("m", str(source), task=task, accelerator="GPU", **more), tmp_path / "r")
    return schema.configurations(tmp_path / "r")["m" if task == "Infer" else "m-graph"]


def folder(place):
    (place / "decoder").mkdir()
    return place / "decoder"


def test_a_graph_on_a_gpu_is_warmed_with_one_row_and_a_whole_batch(tmp_path):
    found = on_gpu(tmp_path, graphs.batched(tmp_path / "m.onnx"), max_batch_size=16)
    assert calls_of(found) == [(1, {"x": (3,)}), (16, {"x": (3,)})]
    assert {call.count for call in found.model_warmup} == {1}


@pytest.mark.parametrize("graph", [graphs.over_time, graphs.words])
def test_what_has_no_size_or_is_text_is_not_warmed(graph, tmp_path):
    assert calls_of(on_gpu(tmp_path, graph(tmp_path / "m.onnx"))) == []


def test_what_takes_too_much_memory_is_not_warmed(tmp_path, monkeypatch):
    monkeypatch.setattr(warm, "LARGEST", 4 * 3 * 8)
    source = graphs.batched(tmp_path / "m.onnx")
    assert [rows for rows, _ in calls_of(on_gpu(tmp_path, source))] == [1, 8]
    assert [rows for rows, _ in calls_of(on_gpu(tmp_path, source, max_batch_size=9))] == [1]


def test_an_encoder_on_a_gpu_is_warmed_with_a_token_and_with_long_texts(tmp_path, encoder_source):
    found = on_gpu(tmp_path, encoder_source, "Embed", max_batch_size=4)
    longest = int(config(tmp_path / "r/m").parameters["max_context"].string_value)
    names = [each.name for each in found.input]
    assert calls_of(found) == [
        (1, dict.fromkeys(names, size)) for size in [(1, 1), (4, min(512, longest))]
    ]
    for call in found.model_warmup:
        mask = call.inputs["attention_mask"]
        told = (tmp_path / "r/m-graph/warmup" / mask.input_data_file).read_bytes()
        assert set(np.frombuffer(told, np.int64)) == {1}
        assert call.inputs["input_ids"].zero_data


@pytest.mark.parametrize("masked", [True, False])
def test_a_decoder_on_a_gpu_is_warmed_with_a_step_and_a_prompt(tmp_path, masked):
    source = decoders.write(folder(tmp_path), decoders.SHORT, masked=masked)
    found = on_gpu(tmp_path, source, "Generate")
    context = int(config(tmp_path / "r/m").parameters["max_context"].string_value)
    longest = min(512, context) - 1
    calls = [shapes for _, shapes in calls_of(found)]
    assert [shapes["input_ids"] for shapes in calls] == [(1, 1), (1, longest)]
    for shapes in calls:
        past = [shape for name, shape in shapes.items() if name.startswith("past_key_values")]
        assert past
        assert all((shape[0], shape[2]) == (1, 1) for shape in past)
        assert ("attention_mask" in shapes) == masked
        if masked:
            assert shapes["attention_mask"] == (1, shapes["input_ids"][1] + 1)


@pytest.mark.parametrize(
    ("task", "masked"), [("Embed", True), ("Generate", True), ("Generate", False)]
)
def test_what_warms_a_graph_is_what_it_can_compute(tmp_path, encoder_source, task, masked):
    """As the backend would call it, by ONNX Runtime on the CPU."""
    source = encoder_source
    if task == "Generate":
        source = decoders.write(folder(tmp_path), decoders.SHORT, masked=masked)
    found = on_gpu(tmp_path, source, task)
    place = tmp_path / "r/m-graph"
    session = onnxruntime.InferenceSession(str(place / "1/model.onnx/model.onnx"))
    kinds = {i.name: i.type for i in session.get_inputs()}
    for call in found.model_warmup:
        feed = {}
        for name, each in call.inputs.items():
            kind = {"tensor(int64)": np.int64, "tensor(float)": np.float32}[kinds[name]]
            feed[name] = np.zeros(tuple(each.dims), kind)
            if each.input_data_file:
                data = (place / "warmup" / each.input_data_file).read_bytes()
                feed[name] = np.frombuffer(data, kind).reshape(tuple(each.dims))
        assert all(np.isfinite(each).all() for each in session.run(None, feed))


@pytest.mark.parametrize("task", ["Embed", "Generate"])
def test_on_a_gpu_text_goes_through_a_model_in_front(
    tmp_path, encoder_source, decoder_source, task
):
    source = encoder_source if task == "Embed" else decoder_source
    build(BuildSpec("m", str(source), task=task, accelerator="GPU"), tmp_path / "r")
    front, graph = config(tmp_path / "r/m"), config(tmp_path / "r/m-graph")
    assert (front.backend, front.parameters["graph"].string_value) == ("python", "m-graph")
    assert (graph.backend, graph.instance_group[0].kind) == (
        "onnxruntime",
        ModelInstanceGroup.KIND_GPU,
    )
    assert (tmp_path / "r/m-graph/1/model.onnx/model.onnx").is_file()
