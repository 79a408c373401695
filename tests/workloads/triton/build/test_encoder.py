"""Encoders with random weights, in every variant that is converted, against numpy.

Holds: preamar_model/build/encoder.py, preamar_model/files/graph.py, preamar_model/files/pooling.py,
preamar_model/files/tokenizer.py, preamar_model/files/weights.py
"""

import json
import math
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from preamar_model.build.command import build
from preamar_model.order import BuildSpec
from safetensors.numpy import save_file

HIDDEN, HEADS, INNER, WORDS, PLACES, EPSILON = 12, 3, 20, 30, 16, 1e-5


def write(
    folder: Path, family: str, activation: str, kind: type, modules: list | None, pooling: dict
) -> dict:
    chance = np.random.default_rng(5)
    shapes = {
        "embeddings.word_embeddings.weight": (WORDS, HIDDEN),
        "embeddings.position_embeddings.weight": (PLACES, HIDDEN),
        "embeddings.token_type_embeddings.weight": (1, HIDDEN),
        "embeddings.LayerNorm.weight": (HIDDEN,),
        "embeddings.LayerNorm.bias": (HIDDEN,),
    }
    for layer in range(2):
        at = f"encoder.layer.{layer}."
        for name in (
            "attention.self.query",
            "attention.self.key",
            "attention.self.value",
            "attention.output.dense",
        ):
            shapes |= {f"{at}{name}.weight": (HIDDEN, HIDDEN), f"{at}{name}.bias": (HIDDEN,)}
        shapes |= {
            f"{at}intermediate.dense.weight": (INNER, HIDDEN),
            f"{at}intermediate.dense.bias": (INNER,),
        }
        shapes |= {f"{at}output.dense.weight": (HIDDEN, INNER), f"{at}output.dense.bias": (HIDDEN,)}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"{at}{name}.weight": (HIDDEN,), f"{at}{name}.bias": (HIDDEN,)}
    weights = {n: (chance.standard_normal(s) * 0.5).astype(kind) for n, s in shapes.items()}
    prefix = "" if family == "bert" else "roberta."
    folder.mkdir()
    save_file({prefix + n: w for n, w in weights.items()}, folder / "model.safetensors")
    config = {
        "model_type": family, "hidden_size": HIDDEN, "num_hidden_layers": 2, "num_attention_heads": HEADS,
        "max_position_embeddings": PLACES, "vocab_size": WORDS, "layer_norm_eps": EPSILON, "hidden_act": activation,
        "pad_token_id": 0 if family == "bert" else 1,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghij"])
    )
    if modules is not None:
        (folder / "modules.json").write_text(
            json.dumps([{"type": f"x.{t}", "path": p} for t, p in modules])
        )
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling/config.json").write_text(json.dumps(pooling))
    return {n: w.astype(np.float64) for n, w in weights.items()}


def reference(w: dict, ids: list[int], offset: int, activation: str) -> np.ndarray:
    """Token vectors of one sentence without padding."""

    def norm(x, at):
        centred = x - x.mean(-1, keepdims=True)
        return (
            centred / np.sqrt((centred**2).mean(-1, keepdims=True) + EPSILON) * w[f"{at}.weight"]
            + w[f"{at}.bias"]
        )

    def dense(x, at):
        return x @ w[f"{at}.weight"].T + w[f"{at}.bias"]

    bend = {
        "gelu": lambda v: v * 0.5 * (1 + math.erf(v / math.sqrt(2))),
        "gelu_new": lambda v: (
            0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3)))
        ),
        "relu": lambda v: v * (v > 0),
    }[activation]
    x = w["embeddings.word_embeddings.weight"][ids]
    x = x + w["embeddings.position_embeddings.weight"][offset : offset + len(ids)]
    x = norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    size = HIDDEN // HEADS
    for layer in range(2):
        at = f"encoder.layer.{layer}"
        q, k, v = (dense(x, f"{at}.attention.self.{n}") for n in ("query", "key", "value"))
        out = np.zeros_like(x)
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            shares = np.exp(q[:, part] @ k[:, part].T / math.sqrt(size))
            out[:, part] = shares / shares.sum(-1, keepdims=True) @ v[:, part]
        x = norm(dense(out, f"{at}.attention.output.dense") + x, f"{at}.attention.output.LayerNorm")
        inner = np.vectorize(bend)(dense(x, f"{at}.intermediate.dense"))
        x = norm(dense(inner, f"{at}.output.dense") + x, f"{at}.output.LayerNorm")
    return x


POOLED = {
    "mean": lambda x: x.mean(0),
    "cls": lambda x: x[0],
    "max": lambda x: x.max(0),
    "mean_sqrt_len": lambda x: x.sum(0) / math.sqrt(len(x)),
}


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta"])
@pytest.mark.parametrize(
    ("activation", "kind"), [("gelu", np.float32), ("gelu_new", np.float16), ("relu", np.float32)]
)
def test_every_family_and_activation_equals_the_formula(tmp_path, family, activation, kind):
    w = write(tmp_path / "m", family, activation, kind, None, {})
    assert_equal(tmp_path, w, 0 if family == "bert" else 2, activation, ["mean"], False)


@pytest.mark.parametrize(
    "modes",
    [["cls"], ["max"], ["mean_sqrt_len"], ["cls", "max"]],
    ids="+".join,
)
def test_every_pooling_equals_the_formula(tmp_path, modes):
    names = {
        "cls": "cls_token",
        "max": "max_tokens",
        "mean": "mean_tokens",
        "mean_sqrt_len": "mean_sqrt_len_tokens",
    }
    pooling = {f"pooling_mode_{name}": mode in modes for mode, name in names.items()}
    modules = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    w = write(tmp_path / "m", "bert", "gelu", np.float32, modules, pooling)
    assert_equal(tmp_path, w, 0, "gelu", modes, True)


def assert_equal(
    tmp_path: Path, w: dict, offset: int, activation: str, modes: list[str], scaled: bool
) -> None:
    order = BuildSpec(name="m", source=str(tmp_path / "m"), task="Embed")
    build(order, tmp_path / "models")
    session = onnxruntime.InferenceSession(tmp_path / "models/m/1/model.onnx")
    sentences = [[5, 6, 7, 8, 9, 10], [4], [11, 12, 4]]
    ids, mask = np.ones((3, 6), np.int64), np.zeros((3, 6), np.int64)
    for row, sentence in enumerate(sentences):
        ids[row, : len(sentence)], mask[row, : len(sentence)] = sentence, 1
    rows = session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
    for sentence, row in zip(sentences, rows, strict=True):
        tokens = reference(w, sentence, offset, activation)
        wanted = np.concatenate([POOLED[mode](tokens) for mode in modes])
        wanted = wanted / np.linalg.norm(wanted) if scaled else wanted
        assert row == pytest.approx(wanted, abs=2e-5)


def test_an_encoder_that_is_onnx_already_gets_the_pooling_its_files_ask_for(tmp_path):
    from graphs import save, value
    from onnx import TensorProto, helper

    table = np.random.default_rng(1).standard_normal((20, 4)).astype(np.float32)
    folder = tmp_path / "m"
    folder.mkdir()
    save(
        folder / "model.onnx",
        [helper.make_node("Gather", ["table", "input_ids"], ["last_hidden_state"])],
        [value(n, TensorProto.INT64, "b", "t") for n in ("input_ids", "attention_mask")],
        [value("last_hidden_state", TensorProto.FLOAT, "b", "t", 4)],
        {"table": table},
    )
    (folder / "config.json").write_text('{"max_position_embeddings": 8}')
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nb")
    build(BuildSpec(name="m", source=str(folder), task="Embed"), tmp_path / "models")
    session = onnxruntime.InferenceSession(tmp_path / "models/m/1/model.onnx")
    feed = {"input_ids": np.int64([[4, 5, 0]]), "attention_mask": np.int64([[1, 1, 0]])}
    assert session.run(None, feed)[0][0] == pytest.approx((table[4] + table[5]) / 2, abs=1e-6)
