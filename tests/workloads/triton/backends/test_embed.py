"""Embeddings of a real pre-trained encoder, through the real server, against two references:
the formula in numpy, and the similarities that the encoder's authors publish.

Holds: preamar_model/backends/embed.py
"""

import json
import math
import threading
from functools import cache

import numpy as np
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer

SENTENCES = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
PUBLISHED = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]
"""What sentence-transformers' own documentation prints for these sentences."""


@cache
def weights(source) -> dict[str, np.ndarray]:
    """In float64."""
    found = load_file(source / "model.safetensors")
    return {name: value.astype(np.float64) for name, value in found.items()}


def formula(source, text: str) -> np.ndarray:
    """One sentence through BERT, in float64, one head and one token at a time where it is plain."""
    w = weights(source)
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    ids = tokenizer.encode(text).ids

    def norm(x, at):
        centred = x - x.mean(-1, keepdims=True)
        return (
            centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12) * w[f"{at}.weight"]
            + w[f"{at}.bias"]
        )

    def dense(x, at):
        return x @ w[f"{at}.weight"].T + w[f"{at}.bias"]

    e = "embeddings"
    x = w[f"{e}.word_embeddings.weight"][ids] + w[f"{e}.position_embeddings.weight"][: len(ids)]
    x = norm(x + w[f"{e}.token_type_embeddings.weight"][0], f"{e}.LayerNorm")
    for layer in range(6):
        at = f"encoder.layer.{layer}"
        q, k, v = (dense(x, f"{at}.attention.self.{n}") for n in ("query", "key", "value"))
        out = np.zeros_like(x)
        for head in range(12):
            part = slice(head * 32, head * 32 + 32)
            scores = q[:, part] @ k[:, part].T / math.sqrt(32)
            shares = np.exp(scores - scores.max(-1, keepdims=True))
            out[:, part] = shares / shares.sum(-1, keepdims=True) @ v[:, part]
        x = norm(dense(out, f"{at}.attention.output.dense") + x, f"{at}.attention.output.LayerNorm")
        inner = dense(x, f"{at}.intermediate.dense")
        inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
        x = norm(dense(inner, f"{at}.output.dense") + x, f"{at}.output.LayerNorm")
    mean = x.mean(0)
    return mean / np.linalg.norm(mean)


def test_similar_sentences_are_as_close_as_published(served):
    rows = np.array(served.embed(*SENTENCES)[0])
    assert rows.shape == (3, 384)
    assert rows @ rows.T == pytest.approx(np.array(PUBLISHED), abs=6e-5)


def test_embeddings_equal_the_formula_whatever_shares_their_batch(served, minilm):
    texts = ["hi", "A much longer sentence, so that the short one is padded.", "Grüße, 世界! 👋"]
    rows, counts = served.embed(*texts)
    for text, row in zip(texts, rows, strict=True):
        assert np.array(row) == pytest.approx(formula(minilm, text), abs=2e-5)
    assert counts[0] == 3, "[CLS] hi [SEP]"


def test_a_long_text_is_cut_at_the_models_limit(served, minilm):
    text = "word " * 1000
    rows, counts = served.embed(text)
    assert counts == [256]
    assert np.array(rows[0]) == pytest.approx(formula(minilm, text), abs=2e-5)


def test_callers_at_once_get_each_their_own_answer(served):
    texts = [f"sentence number {n} " + "and more " * n for n in range(12)]
    alone = [served.embed(text)[0][0] for text in texts]
    got = {}

    def ask(n: int) -> None:
        got[n] = served.embed(texts[n])[0][0]

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for n in range(12):
        assert np.array(got[n]) == pytest.approx(np.array(alone[n]), abs=2e-5)


def test_the_configuration_tells_the_gateway_what_it_needs(served):
    config = json.loads(served.get("/v2/models/minilm/config")[1])
    told = {name: entry["string_value"] for name, entry in config["parameters"].items()}
    assert (told["task"], told["dimensions"], told["max_context"]) == ("Embed", "384", "256")
    assert config["max_batch_size"] == 8


def test_a_text_that_is_not_utf8_is_an_error_of_its_sender(served):
    import tritonclient.grpc as grpcclient
    from tritonclient.utils import InferenceServerException

    with grpcclient.InferenceServerClient(f"127.0.0.1:{served.grpc}") as client:
        tensor = grpcclient.InferInput("TEXT", [1, 1], "BYTES")
        tensor.set_data_from_numpy(np.array([[b"\xff\xfe"]], dtype=object))
        with pytest.raises(InferenceServerException, match="not UTF-8"):
            client.infer("minilm", [tensor])
    assert served.embed("still here")[1] == [4]
