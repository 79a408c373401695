"""Triton repositories of several models that users bring: an ensemble of Python models through the real
Triton, and what is refused before it starts.

Holds: preamar_model/build/multi_model.py, preamar_model/files/pbtxt_reader.py,
preamar_model/triton_tree.py
"""

from pathlib import Path

import pytest
import schema
from google.protobuf import text_format
from preamar_model.files import pbtxt_reader
from running import build_here as build
from tritonclient.grpc.model_config_pb2 import ModelConfig

PYTHON = """
import numpy as np
import triton_python_backend_utils as utils
class TritonPythonModel:
    def execute(self, requests):
        given = (utils.get_input_tensor_by_name(r, "{given}").as_numpy() for r in requests)
        return [utils.InferenceResponse([utils.Tensor("{made}", self.made(x))]) for x in given]
    def made(self, x):
        return {body}
"""
CONFIG = """# {name}
name: "{name}"  # as the folder
backend: "python"
max_batch_size: 8
input [ {{ name: "{given}" data_type: TYPE_{kind} dims: [ 1 ] }} ]
output [ {{ name: "{made}" data_type: TYPE_{gives} dims: [ 1 ] }} ]
"""
STEPS = (
    ("read", "TEXT", "NUMBER", "STRING", "FP32", "np.array([[float(t)] for t in x.flat], np.float32)"),
    ("double", "IN", "OUT", "FP32", "FP32", "2 * x"),
    ("say", "NUMBER", "SAID", "FP32", "STRING", "np.array([[b'= %g' % n] for n in x.flat], object)"),
)  # fmt: skip
STEP = """  step {{ model_name: "{name}" model_version: -1
    input_map {{ key: "{given}" value: "{of}" }} output_map {{ key: "{made}" value: "{to}" }} }}
"""


def model(folder: Path, config: str, body: str = "") -> None:
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(config)
    if body:
        (folder / "1/model.py").write_text(body)


def ensemble(folder: Path, name: str = "pipeline", last: str = "say") -> Path:
    for step, given, made, kind, gives, body in STEPS:
        config = CONFIG.format(name=step, given=given, made=made, kind=kind, gives=gives)
        model(folder / step, config, PYTHON.format(given=given, made=made, body=body))
    steps = (
        ("read", "TEXT", "TEXT", "NUMBER", "number"),
        ("double", "IN", "number", "OUT", "doubled"),
        (last, "NUMBER", "doubled", "SAID", "SAID"),
    )
    told = "".join(STEP.format(name=n, given=g, of=o, made=m, to=t) for n, g, o, m, t in steps)
    config = f"""name: "{name}"
platform: "ensemble"
max_batch_size: 8
input [ {{ name: "TEXT" data_type: TYPE_STRING dims: [ 1 ] }} ]
output [ {{ name: "SAID" data_type: TYPE_STRING dims: [ 1 ] }} ]
ensemble_scheduling {{
{told}}}
"""
    model(folder / name, config)
    return folder


def ordered(source: Path, to: Path, **more: object):
    return build({"name": "m", "source": str(source), "trust": "Code"} | more, to)


def test_an_ensemble_is_served_whole_under_the_services_name(tmp_path, served):
    source = ensemble(tmp_path / "own")
    (source / "pipeline/1").rmdir()  # as a bucket brings it
    done = ordered(source, tmp_path / "models")
    assert (done.code, done.told["format"]) == (0, "Repository"), done.log
    found = schema.configurations(tmp_path / "models")
    assert set(found) == {"m", "read", "double", "say"}
    assert [s.model_name for s in found["m"].ensemble_scheduling.step] == ["read", "double", "say"]
    served.invite(tmp_path / "models", "m")
    told = {"name": "TEXT", "shape": [2, 1], "datatype": "BYTES", "data": ["21", "0.5"]}
    status, answer = served.infer("m", told)
    assert (status, answer["SAID"]["data"]) == (200, ["= 42", "= 1"]), answer


def test_the_model_named_like_the_service_is_the_one_to_call(tmp_path):
    source = ensemble(tmp_path / "own", "m")
    assert ordered(source, tmp_path / "models").code == 0
    assert (tmp_path / "models/m/config.pbtxt").read_text() == (
        source / "m/config.pbtxt"
    ).read_text()
    for step in ("double", "say"):
        model(tmp_path / "plain" / step, (source / step / "config.pbtxt").read_text(), "# x")
    assert ordered(tmp_path / "plain", tmp_path / "served", name="say").code == 0


@pytest.mark.parametrize("name", ["m", "double"])
def test_a_name_that_a_step_has_already_is_refused(tmp_path, name):
    source = ensemble(tmp_path / "own")
    if name == "m":
        config = (source / "say/config.pbtxt").read_text().replace('"say"', '"m"')
        model(source / "m", config, "# x")
    done = ordered(source, tmp_path / "models", name=name)
    assert (done.code, done.told["reason"]) == (64, "ModelInvalid")
    assert repr(name) in done.told["message"]


def test_without_one_top_the_sentence_asks_for_it(tmp_path):
    source = ensemble(tmp_path / "own")
    other = (source / "pipeline/config.pbtxt").read_text().replace('"pipeline"', '"other"')
    model(source / "other", other)
    done = ordered(source, tmp_path / "models")
    assert (done.code, done.told["reason"]) == (64, "ModelInvalid")
    assert "2 ensembles" in done.told["message"]


def test_python_parts_need_trust(tmp_path):
    done = ordered(ensemble(tmp_path / "own"), tmp_path / "models", trust="Data")
    assert (done.code, done.told["reason"]) == (64, "CodeNotTrusted")


@pytest.mark.parametrize(
    ("more", "file"),
    [
        ("", "libtriton_onnxruntime.so"),
        ("", "1/libx.so.2"),
        ('runtime: "model.bin"', None),
        ('model_operations { op_library_filename: "x" }', None),
    ],
)
def test_libraries_beside_a_model_of_data_need_trust(tmp_path, more, file):
    config = f'name: "m" backend: "onnxruntime"\n{more}'
    model(tmp_path / "own/m", config)
    (tmp_path / "own/m/1/model.onnx").write_bytes(b"x")
    if file:
        (tmp_path / "own/m" / file).write_bytes(b"x")
    done = ordered(tmp_path / "own", tmp_path / "models", trust="Data")
    assert (done.code, done.told["reason"]) == (64, "CodeNotTrusted")
    assert "libraries" in done.told["message"]


@pytest.mark.parametrize(
    ("folder", "old", "new", "reason", "said"),
    [
        ("pipeline", '"say"', '"gone"', "ModelInvalid", "'gone', which is not there"),
        ("say", '"python"', '"dali"', "FormatUnsupported", "'dali'"),
        ("say", 'name: "say"', 'name: "tell"', "ModelInvalid", "folder's name"),
        ("say", 'backend: "python"', "", "ModelInvalid", "no backend"),
        ("say", "input [", "input [[", "ModelInvalid", "not protobuf text"),
        ("say", "max_batch_size", 'name: "say" max_batch_size', "ModelInvalid", "not protobuf text"),
        ("pipeline", 'name: "pipeline"\n', 'name: "pipeline" ', "ModelInvalid", "line of its own"),
    ],
)  # fmt: skip
def test_what_triton_could_not_load_is_refused(tmp_path, folder, old, new, reason, said):
    source = ensemble(tmp_path / "own")
    path = source / folder / "config.pbtxt"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    done = ordered(source, tmp_path / "models")
    assert (done.code, done.told.get("reason")) == (64, reason), done.told
    assert said in done.told["message"]
    assert not (tmp_path / "models/m").exists()


def test_a_model_without_a_version_is_refused(tmp_path):
    source = ensemble(tmp_path / "own")
    (source / "say/1").rename(source / "say/first")
    done = ordered(source, tmp_path / "models")
    assert (done.code, done.told["reason"]) == (64, "ModelInvalid")
    assert "version" in done.told["message"]


TEXT = """
name: 'a' "b"; max_batch_size: -0, backend: "p\\303\\251" # { [
instance_group [ { count: 1, kind: KIND_CPU }, < count: 2 > ]
parameters: [ ]
input { name: "}" dims: [ -1, 2 ] }
ensemble_scheduling { step [ { model_name: "x" }, { model_name: "y" } ] step { model_name: "z" } }
"""


def test_our_reader_hears_what_tritons_schema_hears():
    found, told = pbtxt_reader.read(TEXT), text_format.Parse(TEXT, ModelConfig())
    assert (found["name"], found["backend"]) == ([told.name], [told.backend])
    steps = [s["model_name"][0] for e in found["ensemble_scheduling"] for s in e["step"]]
    assert steps == [step.model_name for step in told.ensemble_scheduling.step] == ["x", "y", "z"]
    assert [int(d) for d in found["input"][0]["dims"]] == list(told.input[0].dims)
    assert [int(g["count"][0]) for g in found["instance_group"]] == [1, 2]


@pytest.mark.parametrize(
    "text",
    ["a {", "a }", "a: [1", "a: [1 2]", "a 1", "a:", 'a: "x', "a { b: }", "a {" * 5000, "a: 1\n" * 300_000],
)  # fmt: skip
def test_what_is_no_protobuf_text_is_said_and_not_suffered(text):
    with pytest.raises(pbtxt_reader.Unreadable):
        pbtxt_reader.read(text)
