"""What the builder refuses: exit code 64, a reason, and a sentence that says what is wrong.

Holds: preamar_model/exit_report.py, preamar_model/build/command.py, preamar_model/build/trial.py,
preamar_model/build/trusted.py, preamar_model/files/onnx_file.py, preamar_model/files/recognise.py,
preamar_model/files/source.py
"""

import json
import pickle
import re
import subprocess
import zipfile
from pathlib import Path

import graphs
import numpy as np
import pytest
from onnx import TensorProto, helper
from preamar_model.files import onnx_file
from running import build as build_command
from running import build_here as build
from safetensors.numpy import save_file


def refused(order: dict, tmp_path: Path) -> tuple[str, str]:
    done = build({"name": "m"} | order, tmp_path / "models")
    assert done.code == 64, done.log
    assert set(done.told) == {"reason", "message"}
    assert re.fullmatch(r"[^\n]+[.]?", done.told["message"])
    assert not (tmp_path / "models/m").exists(), "a refused model was left to be served"
    return done.told["reason"], done.told["message"]


def test_the_command_itself_exits_with_64(tmp_path):
    done = build_command({"name": "m", "source": str(tmp_path / "gone")}, tmp_path / "models")
    assert (done.code, done.told["reason"]) == (64, "ModelNotFound")


def test_a_path_that_is_not_there(tmp_path):
    reason, message = refused({"source": str(tmp_path / "gone")}, tmp_path)
    assert reason == "ModelNotFound"
    assert "gone" in message


def test_an_empty_directory(tmp_path):
    (tmp_path / "m").mkdir()
    assert refused({"source": str(tmp_path / "m")}, tmp_path)[0] == "ModelNotFound"


@pytest.mark.usefixtures("tried_apart")
def test_a_broken_onnx_file(tmp_path):
    whole = graphs.batched(tmp_path / "whole.onnx").read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "noise.onnx").write_bytes(b"\x00not a model" * 50)
    for name in ("cut.onnx", "noise.onnx"):
        reason, message = refused({"source": str(tmp_path / name)}, tmp_path)
        assert reason == "ModelInvalid"
        assert "ONNX" in message


@pytest.mark.usefixtures("tried_apart")
def test_an_onnx_graph_with_an_operator_that_nobody_knows(tmp_path):
    node = helper.make_node("Frobnicate", ["x"], ["y"], domain="com.example")
    x, y = (graphs.value(n, TensorProto.FLOAT, "b", 2) for n in "xy")
    path = graphs.save(tmp_path / "m.onnx", [node], [x], [y])
    reason, message = refused({"source": str(path)}, tmp_path)
    assert reason == "ModelInvalid"
    assert "Frobnicate" in message or "com.example" in message


def test_a_wrong_digest_and_a_right_one(tmp_path):
    path = graphs.batched(tmp_path / "m.onnx")
    reason, message = refused({"source": str(path), "digest": "sha256:" + "0" * 64}, tmp_path)
    assert reason == "DigestMismatch"
    found = re.search(r"sha256:(?!0{64})[0-9a-f]{64}", message)[0]
    assert build({"name": "m", "source": str(path), "digest": found}, tmp_path / "ok").code == 0


def test_a_directorys_digest_is_what_common_tools_give(tmp_path):
    folder = tmp_path / "m"
    (folder / "sub").mkdir(parents=True)
    graphs.batched(folder / "model.onnx")
    (folder / "sub/notes.txt").write_text("é")
    command = r"find . -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
    printed = subprocess.run(
        ["sh", "-c", command], cwd=folder, capture_output=True, text=True, check=True
    ).stdout
    order = {"name": "m", "source": str(folder), "digest": "sha256:" + printed.split()[0]}
    done = build(order, tmp_path / "ok")
    assert done.code == 0, done.told
    assert done.told == {
        "digest": order["digest"],
        "bytes": (folder / "model.onnx").stat().st_size + 2,
        "format": "ONNX",
    }


@pytest.mark.parametrize("trust", ["Data", "Code"])
def test_pickles_whatever_they_are_called(tmp_path, trust):
    bare, zipped = tmp_path / "model.bin", tmp_path / "model.onnx"
    bare.write_bytes(pickle.dumps({"a": np.zeros(3).tolist()}, protocol=4))
    with zipfile.ZipFile(zipped, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps([1]))
    for path in (bare, zipped):
        reason, message = refused({"source": str(path), "trust": trust}, tmp_path)
        assert reason == ("CodeNotTrusted" if trust == "Data" else "FormatUnsupported")
        assert "pickle" in message


def trusted(folder: Path, body: str) -> Path:
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(
        'name: "other"\nbackend: "python"\nmax_batch_size: 0\n'
        'input [{ name: "x" data_type: TYPE_INT32 dims: [1] }]\noutput [{ name: "y" data_type: TYPE_INT32 dims: [1] }]\n'
    )
    (folder / "1/model.py").write_text(body)
    return folder


def test_python_needs_trust(tmp_path):
    source = trusted(tmp_path / "code", "class TritonPythonModel: ...\n")
    reason, message = refused({"source": str(source)}, tmp_path)
    assert reason == "CodeNotTrusted"
    assert "spec.model.trust" in message
    assert build({"name": "m", "source": str(source), "trust": "Code"}, tmp_path / "ok").code == 0
    assert (tmp_path / "ok/m/config.pbtxt").read_text().startswith('name: "m"\n')


def test_what_linked_folders_hold_is_no_part_of_trusted_code(tmp_path):
    source = trusted(tmp_path / "code", "class TritonPythonModel: ...\n")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/key").write_text("secret")
    (source / "1/more").symlink_to(tmp_path / "elsewhere")
    (source / "1/own.json").write_text("{}")
    assert build({"name": "m", "source": str(source), "trust": "Code"}, tmp_path / "r").code == 0
    assert sorted(p.name for p in (tmp_path / "r/m/1").rglob("*")) == ["model.py", "own.json"]


@pytest.mark.parametrize("name", ["model.tflite", "model.h5", "model.gguf", "notes.txt"])
def test_formats_that_are_not_served(tmp_path, name):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / name).write_bytes(b"something")
    assert refused({"source": str(tmp_path / "m")}, tmp_path)[0] == "FormatUnsupported"


def test_a_format_that_was_asked_for_but_is_another(tmp_path):
    path = graphs.batched(tmp_path / "m.onnx")
    assert (
        refused({"source": str(path), "format": "SafeTensors"}, tmp_path)[0] == "FormatUnsupported"
    )
    assert refused({"source": str(path), "format": "TensorRT"}, tmp_path)[0] == "FormatUnsupported"
    assert refused({"source": str(path), "task": "Rank"}, tmp_path)[0] == "FormatUnsupported"


def encoder(folder: Path, **changes: object) -> Path:
    folder.mkdir()
    config = {
        "model_type": "bert", "hidden_size": 4, "num_hidden_layers": 0, "num_attention_heads": 2,
        "max_position_embeddings": 8, "vocab_size": 10,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config | changes))
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\na")
    shapes = {"word_embeddings.weight": (10, 4), "position_embeddings.weight": (8, 4),
              "token_type_embeddings.weight": (2, 4), "LayerNorm.weight": (4,), "LayerNorm.bias": (4,)}  # fmt: skip
    save_file(
        {f"embeddings.{n}": np.ones(s, np.float32) for n, s in shapes.items()},
        folder / "model.safetensors",
    )
    return folder


@pytest.mark.parametrize(
    ("changes", "reason", "said"),
    [
        ({"model_type": "mpnet"}, "FormatUnsupported", "mpnet"),
        ({"hidden_size": 6}, "ModelInvalid", "promises"),
        ({"num_hidden_layers": 1}, "ModelInvalid", "encoder.layer.0"),
        ({"num_attention_heads": 3}, "ModelInvalid", "multiple"),
        ({"vocab_size": 3}, "ModelInvalid", "different models"),
        ({"hidden_act": "swish"}, "FormatUnsupported", "swish"),
    ],
)
def test_an_encoder_that_contradicts_its_files(tmp_path, changes, reason, said):
    source = encoder(tmp_path / "e", **changes)
    found, message = refused({"source": str(source), "task": "Embed"}, tmp_path)
    assert (found, said in message) == (reason, True), message


def test_safetensors_cut_short(tmp_path):
    source = encoder(tmp_path / "e")
    path = source / "model.safetensors"
    whole = path.read_bytes()
    for size in (4, 40, len(whole) - 8):
        path.write_bytes(whole[:size])
        reason, message = refused({"source": str(source), "task": "Embed"}, tmp_path)
        assert (reason, "model.safetensors" in message) == ("ModelInvalid", True)


def test_a_link_that_leaves_the_volume(tmp_path):
    secret = tmp_path / "outside" / "secret.onnx"
    secret.parent.mkdir()
    graphs.batched(secret)
    folder = tmp_path / "volume" / "m"
    folder.mkdir(parents=True)
    (folder / "model.onnx").symlink_to(secret)
    reason, message = refused({"source": str(folder)}, tmp_path)
    assert (reason, "link" in message) == ("ModelInvalid", True)


def test_weights_beside_the_graph_must_be_inside_the_model(tmp_path):
    import onnx

    path = graphs.batched(tmp_path / "m.onnx")
    model = onnx.load(path)
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../../etc/hostname")
    path.write_bytes(model.SerializeToString())
    reason, message = refused({"source": str(path)}, tmp_path)
    assert (reason, "outside" in message) == ("ModelInvalid", True)


def test_a_name_that_triton_cannot_carry(tmp_path):
    path = graphs.batched(tmp_path / "m.onnx")
    assert refused({"source": str(path), "name": "../up"}, tmp_path)[0] == "ModelInvalid"


def test_a_malformed_order_is_not_the_models_fault(tmp_path):
    assert build({"name": "m"}, tmp_path / "models").code == 1


def test_a_graph_that_brings_down_its_loader_is_refused_and_its_builder_lives(
    tmp_path, tried_apart, monkeypatch
):
    deadly = tmp_path / "deadly/preamar_model"
    (deadly / "build").mkdir(parents=True)
    (deadly / "__init__.py").touch()
    (deadly / "build/__init__.py").touch()
    (deadly / "build/trial.py").write_text("import os\nos.kill(os.getpid(), 11)\n")
    monkeypatch.setattr(onnx_file, "__file__", str(deadly / "files/onnx_file.py"))
    path = graphs.batched(tmp_path / "m.onnx")
    reason, message = refused({"source": str(path)}, tmp_path)
    assert (reason, "signal 11" in message) == ("ModelInvalid", True)
