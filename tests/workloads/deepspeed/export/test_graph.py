"""The exported graphs against a Llama and a Mixtral written again, in numpy, from their published
equations.

Holds: preamar_train/export/graph.py, preamar_train/export/mixture.py, preamar_train/export/nodes.py
"""

import numpy as np
import onnxruntime
import pytest
from preamar_train.export import graph
from preamar_train.models.presets import ModelShape, shape_of


def weights_of(shape: ModelShape, seed: int = 0) -> dict[str, np.ndarray]:
    chance = np.random.default_rng(seed)
    narrow = shape.kv_heads * shape.head_size
    sizes = {"model.embed_tokens.weight": (shape.vocabulary, shape.hidden)}
    for n in range(shape.layers):
        sizes |= {
            f"model.layers.{n}.self_attn.q_proj.weight": (shape.hidden, shape.hidden),
            f"model.layers.{n}.self_attn.k_proj.weight": (narrow, shape.hidden),
            f"model.layers.{n}.self_attn.v_proj.weight": (narrow, shape.hidden),
            f"model.layers.{n}.self_attn.o_proj.weight": (shape.hidden, shape.hidden),
            f"model.layers.{n}.input_layernorm.weight": (shape.hidden,),
            f"model.layers.{n}.post_attention_layernorm.weight": (shape.hidden,),
        }
        wide = (shape.intermediate, shape.hidden)
        if shape.experts:
            name = f"model.layers.{n}.block_sparse_moe"
            sizes[f"{name}.gate.weight"] = (shape.experts, shape.hidden)
            sizes |= {f"{name}.experts.{w}": (shape.experts, *wide) for w in ("w1", "w3")}
            sizes[f"{name}.experts.w2"] = (shape.experts, *reversed(wide))
            continue
        sizes |= {f"model.layers.{n}.mlp.{part}_proj.weight": wide for part in ("gate", "up")}
        sizes[f"model.layers.{n}.mlp.down_proj.weight"] = wide[::-1]
    sizes["model.norm.weight"] = (shape.hidden,)
    if not shape.tie_embeddings:
        sizes["lm_head.weight"] = (shape.vocabulary, shape.hidden)
    return {
        name: (chance.standard_normal(size) * 0.08 + (len(size) == 1)).astype(np.float32)
        for name, size in sizes.items()
    }


def network(y, gate, up, down):
    gate = y @ gate.T
    return (gate / (1 + np.exp(-gate)) * (y @ up.T)) @ down.T


def feed_forward(w, layer, y, shape):
    if not shape.experts:
        return network(y, *(w[f"{layer}.mlp.{c}_proj.weight"] for c in ("gate", "up", "down")))
    name = f"{layer}.block_sparse_moe"
    router, out = w[f"{name}.gate.weight"].astype(np.float64), np.zeros_like(y)
    for t in range(len(y)):
        liked = np.exp(router @ y[t])
        best = np.argsort(-liked)[: shape.active_experts]
        for e in best:
            w1, w2, w3 = (w[f"{name}.experts.{part}"][e] for part in ("w1", "w2", "w3"))
            out[t] += liked[e] / liked[best].sum() * network(y[t], w1, w3, w2)
    return out


def llama(w: dict[str, np.ndarray], shape: ModelShape, ids: np.ndarray) -> np.ndarray:
    """Logits [T, V] of one row, with loops where they make it plain."""

    def norm(x, scale):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + shape.norm_epsilon) * scale

    def rotated(x, place):
        half = shape.head_size // 2
        out = np.empty_like(x)
        for i in range(half):
            angle = place * shape.rope_theta ** (-2 * i / shape.head_size)
            a, b = x[i], x[i + half]
            out[i] = a * np.cos(angle) - b * np.sin(angle)
            out[i + half] = b * np.cos(angle) + a * np.sin(angle)
        return out

    x = w["model.embed_tokens.weight"][ids].astype(np.float64)
    size, group = shape.head_size, shape.heads // shape.kv_heads
    for n in range(shape.layers):
        p = f"model.layers.{n}"
        y = norm(x, w[f"{p}.input_layernorm.weight"])
        q, k, v = (y @ w[f"{p}.self_attn.{c}_proj.weight"].T.astype(np.float64) for c in "qkv")
        mixed = np.zeros((len(ids), shape.hidden))
        for h in range(shape.heads):
            g = slice((h // group) * size, (h // group + 1) * size)
            s = slice(h * size, (h + 1) * size)
            for t in range(len(ids)):
                query = rotated(q[t, s], t)
                scores = np.array([query @ rotated(k[u, g], u) for u in range(t + 1)]) / size**0.5
                shares = np.exp(scores - scores.max())
                mixed[t, s] = (shares / shares.sum()) @ v[: t + 1, g]
        x = x + mixed @ w[f"{p}.self_attn.o_proj.weight"].T
        y = norm(x, w[f"{p}.post_attention_layernorm.weight"])
        x = x + feed_forward(w, p, y, shape)
    head = w["model.embed_tokens.weight" if shape.tie_embeddings else "lm_head.weight"]
    return norm(x, w["model.norm.weight"]) @ head.T


SHAPES = [
    {"layers": 2, "hidden": 32, "heads": 4, "kvHeads": 2},
    {"layers": 1, "hidden": 32, "heads": 4, "kvHeads": 1, "tieEmbeddings": False},
    {"layers": 2, "hidden": 24, "heads": 3, "kvHeads": 3, "ropeTheta": 500.0},
    {"layers": 2, "hidden": 32, "heads": 4, "kvHeads": 2, "experts": 4},
    {"layers": 1, "hidden": 32, "heads": 4, "kvHeads": 2, "experts": 5, "activeExperts": 3},
]


@pytest.mark.parametrize("parameters", SHAPES)
def test_the_graph_computes_a_decoder_with_and_without_its_cache(tmp_path, parameters):
    shape = shape_of("gpt-tiny", {"vocabulary": 512, "intermediate": 40, **parameters})
    weights = weights_of(shape)
    graph.save(graph.build(shape, weights), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    ids = np.random.default_rng(1).integers(0, 512, (2, 9))
    expected = np.stack([llama(weights, shape, row) for row in ids])
    names = [f"{n}.{part}" for n in range(shape.layers) for part in ("key", "value")]
    outputs = ["logits", *(f"present.{name}" for name in names)]
    for pieces in ([9], [4, 1, 1, 3]):
        cache = [np.zeros((2, shape.kv_heads, 0, shape.head_size), np.float32)] * len(names)
        first, found = 0, []
        for length in pieces:
            feed = {f"past_key_values.{n}": c for n, c in zip(names, cache, strict=True)}
            feed["input_ids"] = ids[:, first : first + length]
            feed["position_ids"] = np.tile(np.arange(first, first + length), (2, 1))
            feed["attention_mask"] = np.ones((2, first + length), np.int64)
            logits, *cache = session.run(outputs, feed)
            found.append(logits)
            first += length
        np.testing.assert_allclose(np.concatenate(found, axis=1), expected, atol=2e-4)


@pytest.mark.parametrize("parameters", SHAPES[::3])
def test_rows_of_different_lengths_run_together_when_padded_on_the_left(tmp_path, parameters):
    shape = shape_of("gpt-tiny", {"vocabulary": 512, "intermediate": 40, **parameters})
    weights = weights_of(shape)
    graph.save(graph.build(shape, weights), tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    chance = np.random.default_rng(2)
    rows, longest = [chance.integers(0, 512, n) for n in (9, 4, 1)], 9
    feed = {
        "input_ids": np.zeros((3, longest), np.int64),
        "position_ids": np.zeros((3, longest), np.int64),
        "attention_mask": np.zeros((3, longest), np.int64),
    }
    for at, row in enumerate(rows):
        feed["input_ids"][at, -len(row) :] = row
        feed["input_ids"][at, : -len(row)] = 7  # what the padding holds must not matter
        feed["position_ids"][at, -len(row) :] = np.arange(len(row))
        feed["attention_mask"][at, -len(row) :] = 1
    for number in range(shape.layers):
        for part in ("key", "value"):
            empty = np.zeros((3, shape.kv_heads, 0, shape.head_size), np.float32)
            feed[f"past_key_values.{number}.{part}"] = empty
    (logits,) = session.run(["logits"], feed)
    for at, row in enumerate(rows):
        np.testing.assert_allclose(logits[at, -len(row) :], llama(weights, shape, row), atol=2e-4)
