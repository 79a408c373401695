"""TensorRT plans that users bring: which file is for which GPU, and what is refused. The backend needs
a GPU; the configuration is held against Triton's schema.
"""

import pytest
import schema
from preamar_model.plan import capability
from preamar_model.serve import completes
from running import build_here as build
from tritonclient.grpc.model_config_pb2 import ModelInstanceGroup


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


def test_triton_finds_out_the_tensors_of_a_plan_and_of_nothing_else(tmp_path, minilm):
    assert ordered(tmp_path, "model.plan").code == 0
    assert completes(tmp_path / "r")
    told = {"name": "m", "source": str(minilm), "task": "Embed", "accelerator": "GPU"}
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
