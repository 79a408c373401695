"""What was fetched is judged like what is mounted: by its digest and by what it is.

Holds: preamar_model/build/command.py
"""

import hashlib
import io
import pickle
import zipfile
from dataclasses import replace

import graphs
import pytest
from preamar_model.build import command
from preamar_model.order import BuildSpec
from preamar_model.refusal import Refusal
from running import build_here


@pytest.fixture
def build(secure, pair, tmp_path, monkeypatch):
    """Builds a model of one file on the web server."""
    monkeypatch.setattr(command, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(command, "ROOTS", pair[0].with_name("ca.crt"))

    def act(name: str, data: bytes, **order: object):
        secure.files[f"/{name}"] = data
        words = {"name": "m", "uri": f"https://{secure.host}/{name}", "hosts": [secure.host]}
        return build_here(words | order, tmp_path / "models")

    return act


@pytest.fixture
def graph(tmp_path) -> bytes:
    return graphs.batched(tmp_path / "graph.onnx").read_bytes()


def test_a_fetched_model_is_built_and_told_by_its_digest(build, graph, tmp_path):
    digest = "sha256:" + hashlib.sha256(graph).hexdigest()
    done = build("m.onnx", graph, digest=digest)
    assert (done.code, done.told) == (0, {"digest": digest, "bytes": len(graph), "format": "ONNX"})
    assert (tmp_path / "models/m/config.pbtxt").exists()


@pytest.mark.parametrize("number", range(12))
def test_a_model_with_another_digest_is_refused(number, build, graph):
    right = hashlib.sha256(graph).hexdigest()
    wrong = right[:number] + ("0" if right[number] != "0" else "1") + right[number + 1 :]
    done = build("m.onnx", graph, digest=f"sha256:{wrong}")
    assert (done.code, done.told["reason"]) == (64, "DigestMismatch")


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit(99)",))


def a_pickle(protocol: int) -> bytes:
    return pickle.dumps(Evil(), protocol)


def a_checkpoint() -> bytes:
    """As torch.save writes it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        packed.writestr("archive/data.pkl", a_pickle(2))
    return out.getvalue()


@pytest.mark.parametrize(
    "name", ["m.pt", "m.pth", "m.pkl", "m.onnx", "m.safetensors", "m", "m.ckpt", "m.joblib"]
)
@pytest.mark.parametrize("kind", [2, 3, 4, 5, "torch"])
def test_a_pickle_is_refused_under_any_name(name, kind, build):
    done = build(name, a_checkpoint() if kind == "torch" else a_pickle(kind))
    assert (done.code, done.told["reason"]) == (64, "CodeNotTrusted")


def test_a_model_that_was_fetched_ahead_is_built_without_its_place(build, graph, secure, tmp_path):
    secure.files["/m.onnx"] = graph
    order = BuildSpec("m", "", uri=f"https://{secure.host}/m.onnx", hosts=(secure.host,))
    told = command.only_fetched(order)
    assert told == {"digest": "sha256:" + hashlib.sha256(graph).hexdigest(), "bytes": len(graph)}
    assert not (tmp_path / "models").exists()
    assert build("m.onnx", graph).code == 0
    assert len(secure.gets()) == 1
    with pytest.raises(Refusal):
        command.only_fetched(replace(order, digest="sha256:" + "0" * 64))


def test_a_place_that_is_away_is_the_worlds_fault_and_tried_again(build, secure, monkeypatch):
    monkeypatch.setattr("preamar_storage.attempts.PAUSES", ())
    secure.close()
    done = build("m.onnx", b"")
    assert done.code == 1
    assert "could not be read" in done.told
    assert not isinstance(done.told, Refusal)
