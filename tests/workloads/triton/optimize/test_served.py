"""What is optimised is built and served as any model, and answers as it was judged to.

Holds: preamar_model/optimize/sentences.py, preamar_model/optimize/texts.py
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from graphs import save, value
from networks import optimize, optimize_command, record
from onnx import TensorProto, helper
from preamar_model.optimize import measure
from running import ROOT, build_here, environment

TEXTS = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium.", "42"]
LETTERS = ["a b c", "d", "j i h g", "e f"]
TOLERANCE = 0.03


@pytest.fixture(scope="module")
def int8(tmp_path_factory, minilm) -> Path:
    target = tmp_path_factory.mktemp("optimised") / "minilm"
    order = {
        "name": "minilm",
        "source": str(minilm),
        "target": str(target),
        "task": "Embed",
        "precision": "INT8",
        "tolerance": str(TOLERANCE),
    }
    done = optimize_command(order, "from preamar_model.optimize import measure\nmeasure.SECONDS = 1\nmeasure.compare.__defaults__ = (1.0,)")  # fmt: skip
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(scope="module", autouse=True)
def brief():
    """Speeds of toy networks are of no interest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "SECONDS", 0.02)
        patch.setattr(measure.compare, "__defaults__", (0.02,))
        yield


@pytest.fixture(scope="module")
def encoder(tmp_path_factory, encoder_source) -> Path:
    folder = tmp_path_factory.mktemp("optimised")
    order = {"name": "tiny", "source": str(encoder_source), "target": str(folder / "tiny")}
    wish = {"task": "Embed", "precision": "INT8", "tolerance": str(TOLERANCE)}
    done = optimize(order | wish, folder / "message")
    assert done.code == 0, done.log
    return folder / "tiny"


@pytest.fixture(scope="module")
def decoder(tmp_path_factory, decoder_source) -> Path:
    folder = tmp_path_factory.mktemp("optimised")
    target = folder / "story"
    order = {
        "name": "story",
        "source": str(decoder_source),
        "target": str(target),
        "task": "Generate",
        "precision": "INT8",
    }
    done = optimize(order, folder / "message")
    assert done.code == 0, done.log
    return target


@pytest.mark.slow
def test_int8_minilm_is_within_its_tolerance_and_less_than_a_third_as_large(int8, served, tmp_path):
    told = record(int8)
    assert 0 < float(told["error"]) <= TOLERANCE
    assert told["after"]["bytes"] < told["before"]["bytes"] / 3
    assert told["after"]["bytes"] == (int8 / "model.onnx").stat().st_size
    assert float(told["after"]["latency"]) < float(told["before"]["latency"])
    joined(served, tmp_path, "small-minilm", int8, "Embed")
    answers_as(served, "minilm", "small-minilm", TEXTS)


def joined(served, tmp_path, name, source, task):
    done = build_here({"name": name, "source": str(source), "task": task}, tmp_path / name)
    assert done.code == 0, done.log
    served.invite(tmp_path / name, name)


def answers_as(served, before, after, texts):
    (wanted, counts), (got, counted) = (served.embed(*texts, model=m) for m in (before, after))
    wanted, got = (np.array(rows) / np.linalg.norm(rows, axis=1)[:, None] for rows in (wanted, got))
    assert 1 - (wanted * got).sum(1).min() <= TOLERANCE
    assert not np.allclose(wanted, got, atol=1e-4), "it is the unoptimised model that answers"
    assert counted == counts


def test_an_optimised_encoder_and_decoder_are_served(encoder, decoder, served, tmp_path):
    joined(served, tmp_path, "small-tiny", encoder, "Embed")
    joined(served, tmp_path, "small-story", decoder, "Generate")
    answers_as(served, "tiny", "small-tiny", LETTERS)
    wish = {"prompt": "Once upon a time", "max_tokens": 8, "temperature": 0}
    plain, small = (
        "".join(event["TEXT"] for event in served.stream(name, **wish))
        for name in ("story", "small-story")
    )
    assert plain
    assert small[:4] == plain[:4]


def test_an_encoder_that_is_onnx_already_keeps_the_pooling_that_was_added(tmp_path):
    table = np.random.default_rng(1).standard_normal((20, 64)).astype(np.float32)
    folder = tmp_path / "m"
    folder.mkdir()
    save(
        folder / "model.onnx",
        [helper.make_node("Gather", ["table", "input_ids"], ["last_hidden_state"])],
        [value(n, TensorProto.INT64, "b", "t") for n in ("input_ids", "attention_mask")],
        [value("last_hidden_state", TensorProto.FLOAT, "b", "t", 64)],
        {"table": table},
    )
    (folder / "config.json").write_text('{"max_position_embeddings": 64}')
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\nthe\na")
    order = {"name": "m", "source": str(folder), "target": str(tmp_path / "out"), "task": "Embed"}
    done = optimize(order | {"precision": "INT8"}, tmp_path / "message")
    assert done.code == 0, done.log
    built = build_here({"name": "m", "source": str(tmp_path / "out"), "task": "Embed"}, tmp_path / "models")  # fmt: skip
    assert built.code == 0, built.log
    feed = {"input_ids": np.int64([[4, 5, 0]]), "attention_mask": np.int64([[1, 1, 0]])}
    session = onnxruntime.InferenceSession(tmp_path / "models/m/1/model.onnx")
    wanted = (table[4] + table[5]) / 2
    assert session.run(None, feed)[0][0] == pytest.approx(wanted, abs=0.02)


def test_what_was_optimised_can_be_optimised_again(decoder, tmp_path):
    order = {
        "name": "story",
        "source": str(decoder),
        "target": str(tmp_path / "again"),
        "task": "Generate",
        "precision": "FP16",
    }
    done = optimize(order, tmp_path / "message")
    assert done.code == 0, done.log
    assert not (tmp_path / "again/preamar-optimization.json").samefile(
        decoder / "preamar-optimization.json"
    )
    assert done.told["precision"] == "FP16"


def test_the_image_keeps_what_the_quantizer_imports():
    """The rest of onnxruntime/transformers is removed from the image."""
    code = (
        "import json, sys, onnxruntime.quantization\n"
        "files = [m.__file__ or '' for m in list(sys.modules.values()) if getattr(m, '__file__', None)]\n"
        "print(json.dumps([f.partition('/onnxruntime/')[2] for f in files if '/onnxruntime/' in f]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    used = {
        f for f in json.loads(done.stdout) if not f.startswith(("quantization/", "capi/", "__"))
    }
    text = (ROOT / "workloads/triton/Dockerfile").read_text()
    kept = set(re.findall(r"onnxruntime/(transformers/\w+\.py)", text))
    assert used == kept
    assert not re.search(r"onnxruntime/quantization(?!\.)", re.sub(r"#.*", "", text))
