"""TensorRT plans that users bring: which file is for which GPU, and what is refused. The backend needs
a GPU; the configuration is held against Triton's schema.

Holds: preamar_model/build/plan.py, preamar_model/engine/reading.py
"""

from types import SimpleNamespace

import numpy as np
import pytest
import schema
from engines import L4
from preamar_model.build.plan import capability
from preamar_model.engine import reading
from preamar_model.refusal import Refusal
from preamar_model.serve.command import completes
from running import build_here as build
from tritonclient.grpc.model_config_pb2 import ModelInstanceGroup


@pytest.fixture(autouse=True)
def unread(monkeypatch):
    """As in an image without TensorRT for Python, whatever other tests have loaded."""
    monkeypatch.setattr(reading, "reader", lambda: None)


def ordered(tmp_path, *names: str, **more: object):
    folder = tmp_path / "plans"
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(name.encode())
    told = {"name": "m", "source": str(folder), "accelerator": "GPU"}
    return build(told | more, tmp_path / "r")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("model.plan", None),
        ("resnet50.engine", None),
        ("model-8.0.plan", "8.0"),
        ("model_sm90.engine", "9.0"),
        ("model-cc-86.plan", "8.6"),
        ("model.sm120.plan", "12.0"),
        ("yolov8.0.plan", None),
    ],
)
def test_a_name_says_what_a_plan_is_for(name, found):
    assert capability(name) == found


def test_several_plans_are_told_apart_by_the_gpu(tmp_path):
    done = ordered(tmp_path, "model-8.0.plan", "model-sm90.plan", "other.plan", instances=2)
    assert (done.code, done.told["format"]) == (0, "TensorRT"), done.log
    told = schema.configurations(tmp_path / "r")["m"]
    assert dict(told.cc_model_filenames) == {"8.0": "model-8.0.plan", "9.0": "model-sm90.plan"}
    assert (told.backend, told.default_model_filename) == ("tensorrt", "other.plan")
    assert told.instance_group[0].kind == ModelInstanceGroup.KIND_GPU
    assert told.instance_group[0].count == 2
    for name in ("model-8.0.plan", "model-sm90.plan", "other.plan"):
        assert (tmp_path / "r/m/1" / name).read_bytes() == name.encode()


def test_triton_finds_out_the_tensors_of_a_plan_and_of_nothing_else(tmp_path, encoder_source):
    assert ordered(tmp_path, "model.plan").code == 0
    assert completes(tmp_path / "r")
    told = {"name": "m", "source": str(encoder_source), "task": "Embed", "accelerator": "GPU"}
    assert build(told, tmp_path / "graph").code == 0
    assert not completes(tmp_path / "graph")


def test_two_plans_for_one_gpu_are_refused(tmp_path):
    for pair in (("a.plan", "b.plan"), ("a-8.0.plan", "b-sm80.engine")):
        done = ordered(tmp_path / pair[0].replace(".", "-"), *pair)
        assert (done.code, done.told["reason"]) == (64, "ModelInvalid")
        assert "compute capability" in done.told["message"]


def test_a_plan_needs_a_gpu_and_task_infer(tmp_path):
    for wrong, said in (({"accelerator": "CPU"}, "GPU"), ({"task": "Embed"}, "Infer")):
        done = ordered(tmp_path, "model.plan", **wrong)
        assert (done.code, done.told["reason"]) == (64, "FormatUnsupported")
        assert said in done.told["message"]


class Engine:
    """What a plan says of itself, under the names that TensorRT has for it."""

    def __init__(self, inputs, outputs, kind="float32"):
        self.shapes = {name: shape for name, (shape, *_) in inputs.items()} | outputs
        self.profiles = {name: profile for name, (_, *profile) in inputs.items()}
        self.kind = kind
        self.num_io_tensors = len(self.shapes)

    def get_tensor_name(self, at):
        return list(self.shapes)[at]

    def get_tensor_mode(self, name):
        return "in" if name in self.profiles else "out"

    def get_tensor_dtype(self, name):
        return self.kind

    def get_tensor_shape(self, name):
        return self.shapes[name]

    def get_tensor_profile_shape(self, name, at):
        assert at == 0
        return self.profiles[name]


def nptype(kind):
    if kind == "fp8":
        raise TypeError("no such type")
    return np.dtype(kind)


TRT = SimpleNamespace(
    TensorIOMode=SimpleNamespace(INPUT="in"),
    DataType=SimpleNamespace(BF16="bf16"),
    nptype=nptype,
    __version__="11.4",
)
IMAGES = {"x": ((-1, 3, 8, 8), (1, 3, 8, 8), (8, 3, 8, 8), (16, 3, 8, 8))}


@pytest.mark.parametrize(
    ("inputs", "outputs", "asked", "batch", "dims", "warmed"),
    [
        (IMAGES, {"y": (-1, 5)}, 8, 8, [3, 8, 8], [1, 8]),
        (IMAGES, {"y": (-1, 5)}, 64, 16, [3, 8, 8], [1, 16]),
        (IMAGES, {"y": (5,)}, 8, 0, [-1, 3, 8, 8], []),
        ({"x": ((4, 3), (4, 3), (4, 3), (4, 3))}, {"y": (4, 5)}, 8, 0, [4, 3], [1]),
        ({"x": ((-1, 3), (2, 3), (4, 3), (8, 3))}, {"y": (-1, 5)}, 8, 0, [-1, 3], []),
    ],
    ids=["rows", "no more than the plan takes", "one answer for all", "fixed", "never alone"],
)
def test_rows_are_joined_as_far_as_the_plan_says(
    tmp_path, monkeypatch, inputs, outputs, asked, batch, dims, warmed
):
    def read(self, plan):
        assert plan.name == "model-8.9.plan"
        return reading.taken(TRT, Engine(inputs, outputs))

    monkeypatch.setattr(reading.PlanReader, "__call__", read)
    monkeypatch.setattr(reading, "reader", lambda: reading.PlanReader(TRT, L4))
    many = {"maxBatchSize": asked, "maxDelayMicroseconds": 70}
    done = ordered(tmp_path, "model-8.9.plan", "other.plan", batching=many)
    assert done.code == 0, done.log
    told = schema.configurations(tmp_path / "r")["m"]
    assert (told.max_batch_size, list(told.input[0].dims)) == (batch, dims)
    assert told.dynamic_batching.max_queue_delay_microseconds == (70 if batch else 0)
    assert dict(told.cc_model_filenames) == {"8.9": "model-8.9.plan"}
    assert [call.batch_size for call in told.model_warmup] == warmed
    assert not completes(tmp_path / "r")


def test_a_gpu_without_a_plan_of_its_own_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "reader", lambda: reading.PlanReader(TRT, L4))
    done = ordered(tmp_path, "model-8.0.plan", "model-9.0.plan")
    assert (done.code, done.told["reason"]) == (64, "FormatUnsupported")
    assert "NVIDIA-L4" in done.told["message"]
    assert "8.0, 9.0" in done.told["message"]


def test_a_plan_that_does_not_run_here_is_refused_in_tensorrts_words(trt, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "reader", lambda: reading.PlanReader(trt, L4))
    done = ordered(tmp_path, "model.plan")
    assert (done.code, done.told["reason"]) == (64, "ModelInvalid")
    assert "model.plan does not run on this GPU (NVIDIA-L4, 8.9)" in done.told["message"]
    assert "no reason given" not in done.told["message"]


@pytest.mark.parametrize(("kind", "known"), [("float16", 10), ("bf16", 16), ("int64", 7)])
def test_types_are_those_that_triton_carries(kind, known):
    found = reading.taken(TRT, Engine(IMAGES, {"y": (-1, 5)}, kind))
    assert found.signature.inputs[0].kind == known


def test_other_types_are_refused():
    with pytest.raises(Refusal, match="does not carry"):
        reading.taken(TRT, Engine(IMAGES, {"y": (-1, 5)}, "fp8"))
