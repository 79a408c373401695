"""A tiny decoder with a key-value cache and random weights, as an export lays it out, and the same
decoder again in numpy without a cache: what it must say.
"""

import json
from pathlib import Path

import numpy as np
from graphs import save, value
from onnx import TensorProto, helper
from preamar_model.backends.decoding.detokenise import LETTERS
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

HEADS, SIZE, CONTEXT = 2, 64, 8192
SHORT = 512
WIDTH = HEADS * SIZE
END = 256
VOCABULARY = 257


def weights(seed: int = 3) -> dict[str, np.ndarray]:
    chance = np.random.default_rng(seed)

    def draw(*shape: int, scale: float) -> np.ndarray:
        return (chance.standard_normal(shape) * scale).astype(np.float32)

    return {
        "words": draw(VOCABULARY, WIDTH, scale=1.0),
        "places": draw(CONTEXT, WIDTH, scale=0.7),
        "head": draw(WIDTH, VOCABULARY, scale=0.2),
        "wq": draw(WIDTH, WIDTH, scale=WIDTH**-0.5),
        "wk": draw(WIDTH, WIDTH, scale=WIDTH**-0.5),
        "wv": draw(WIDTH, WIDTH, scale=WIDTH**-0.5),
        # The end token is given a bias against it, so that streams are as long as a test asks.
        "bias": np.where(np.arange(VOCABULARY) == END, -1e4, 0).astype(np.float32),
    }


def tokenizer() -> Tokenizer:
    """Every byte is a token; there are no merges."""
    vocabulary = dict(LETTERS)
    result = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    result.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    result.decoder = decoders.ByteLevel()
    result.add_special_tokens(["<|end|>"])
    return result


def write(folder: Path, context: int = CONTEXT, *, masked: bool = False) -> Path:
    """The directory that an export writes."""
    graph(folder / "model.onnx", weights(), masked=masked)
    tokenizer().save(str(folder / "tokenizer.json"))
    config = {
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "eos_token_id": END,
        "max_position_embeddings": context,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"chat_template": '{{ messages }} "é"\n'})
    )
    return folder


def graph(path: Path, held: dict[str, np.ndarray], *, masked: bool = False) -> Path:
    """A `masked` one takes attention_mask, so that rows of different lengths can share a call."""
    nodes = []

    def add(op: str, *inputs: str, to: str | None = None, **attributes: object) -> str:
        out = to or f"n{len(nodes)}"
        nodes.append(helper.make_node(op, list(inputs), [out], **attributes))
        return out

    constants = {
        "split": np.int64([0, 0, HEADS, SIZE]), "join": np.int64([0, 0, WIDTH]), "zero": np.int64(0),
        "one": np.int64(1), "ones": np.int64([1]), "zeros": np.int64([0]),
        "middle": np.int64([1, 2]),
        "scale": np.float32(SIZE**-0.5), "none": np.float32(0), "least": np.float32(-1e9),
    }  # fmt: skip
    x = add("Add", add("Gather", "words", "input_ids"), add("Gather", "places", "position_ids"))

    def heads(name: str) -> str:
        return add("Transpose", add("Reshape", add("MatMul", x, name), "split"), perm=[0, 2, 1, 3])

    key = add("Concat", "past_key_values.0.key", heads("wk"), axis=2, to="present.0.key")
    val = add("Concat", "past_key_values.0.value", heads("wv"), axis=2, to="present.0.value")
    past = add("Gather", add("Shape", "past_key_values.0.key"), "two", axis=0)
    total = add("Add", past, add("Gather", add("Shape", "input_ids"), "one", axis=0))
    rows = add("Unsqueeze", add("Range", past, total, "one"), "ones")
    columns = add("Unsqueeze", add("Range", "zero", total, "one"), "zeros")
    seen = add("LessOrEqual", columns, rows)
    if masked:
        shown = add("Unsqueeze", add("Greater", "attention_mask", "zero"), "middle")
        seen = add("And", seen, shown)
    mask = add("Where", seen, "none", "least")
    scores = add(
        "Mul", add("MatMul", heads("wq"), add("Transpose", key, perm=[0, 1, 3, 2])), "scale"
    )
    mixed = add("MatMul", add("Softmax", add("Add", scores, mask), axis=-1), val)
    joined = add("Reshape", add("Transpose", mixed, perm=[0, 2, 1, 3]), "join")
    state = add("Add", x, joined)
    add("Add", add("MatMul", state, "head"), "bias", to="logits")
    cache = ("batch", HEADS, "past", SIZE)
    grown = ("batch", HEADS, "total", SIZE)
    inputs = [value(n, TensorProto.INT64, "batch", "tokens") for n in ("input_ids", "position_ids")]
    inputs += [value(f"past_key_values.0.{n}", TensorProto.FLOAT, *cache) for n in ("key", "value")]
    if masked:
        inputs.append(value("attention_mask", TensorProto.INT64, "batch", "total"))
    outputs = [value("logits", TensorProto.FLOAT, "batch", "tokens", VOCABULARY)]
    outputs += [value(f"present.0.{n}", TensorProto.FLOAT, *grown) for n in ("key", "value")]
    return save(path, nodes, inputs, outputs, held | constants | {"two": np.int64(2)})


def greedy(prompt: str, count: int) -> bytes:
    """The bytes that follow, each from the whole text again."""
    held = {name: value.astype(np.float64) for name, value in weights().items()}
    ids = list(prompt.encode())
    for _ in range(count):
        x = held["words"][ids] + held["places"][: len(ids)]
        mixed = np.zeros_like(x[-1])
        for h in range(HEADS):
            part = slice(h * SIZE, (h + 1) * SIZE)
            keys, values = (x @ held["wk"])[:, part], (x @ held["wv"])[:, part]
            scores = keys @ (x[-1] @ held["wq"])[part] * SIZE**-0.5
            shares = np.exp(scores - scores.max())
            mixed[part] = shares @ values / shares.sum()
        logits = (x[-1] + mixed) @ held["head"] + held["bias"]
        ids.append(int(logits.argmax()))
    return bytes(ids[len(prompt.encode()) :])
