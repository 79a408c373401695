"""The decoder as an ONNX graph with a key-value cache, written node by node.

Not traced from torch, so the file is the same whatever torch's version, and it needs none to be
served. Shapes: B batch, T new tokens, P cached ones; all may change from call to call. Every
query sees the cache and the new tokens up to its own, but nothing where `attention_mask` [B, P + T]
is 0: rows of different lengths, padded on the left, run in one call.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from preamar_train.export import mixture
from preamar_train.export.nodes import GraphBuilder
from preamar_train.models.presets import ModelShape

OPSET = 17
IR_VERSION = 8
# A protobuf message ends at 2 GiB; larger weights go to a file beside it.
BESIDE_BYTES = 1_500_000_000
_LEAST = np.float32(np.finfo(np.float32).min)


def build(shape: ModelShape, weights: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """The model, given its FP32 weights by their Llama names."""
    o = GraphBuilder()
    embedding = o.weight("model.embed_tokens.weight", weights["model.embed_tokens.weight"])
    x = o("Gather", embedding, "input_ids")
    cosines, sines = _angles(o, shape)
    mask = _mask(o)
    for number in range(shape.layers):
        name = f"model.layers.{number}"
        normal = _norm(o, x, f"{name}.input_layernorm.weight", shape, weights)
        x = o("Add", x, _attention(o, normal, number, shape, weights, cosines, sines, mask))
        normal = _norm(o, x, f"{name}.post_attention_layernorm.weight", shape, weights)
        network = _feed_forward if not shape.experts else mixture.network
        x = o("Add", x, network(o, normal, name, shape, weights))
    x = _norm(o, x, "model.norm.weight", shape, weights)
    if shape.tie_embeddings:
        o("MatMul", x, o("Transpose", embedding, perm=[1, 0]), to="logits")
    else:
        o("MatMul", x, o.weight("lm_head", weights["lm_head.weight"].T), to="logits")
    graph = helper.make_graph(o.nodes, "decoder", *_signature(shape), o.weights)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    model.producer_name = "preamar"
    return model


def save(model: onnx.ModelProto, file: Path) -> None:
    if sum(len(each.raw_data) for each in model.graph.initializer) < BESIDE_BYTES:
        onnx.save(model, file)
    else:
        onnx.save(model, file, save_as_external_data=True, location=f"{file.name}.data")
    onnx.checker.check_model(str(file), full_check=True)


def _signature(shape: ModelShape) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
    def value(name: str, kind: int, *dims: str | int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, dims)

    ints, floats = TensorProto.INT64, TensorProto.FLOAT
    inputs = [value(name, ints, "batch", "tokens") for name in ("input_ids", "position_ids")]
    inputs.append(value("attention_mask", ints, "batch", "total"))
    outputs = [value("logits", floats, "batch", "tokens", shape.vocabulary)]
    for number in range(shape.layers):
        for part in ("key", "value"):
            dims = ("batch", shape.kv_heads, "past", shape.head_size)
            inputs.append(value(f"past_key_values.{number}.{part}", floats, *dims))
            dims = ("batch", shape.kv_heads, "total", shape.head_size)
            outputs.append(value(f"present.{number}.{part}", floats, *dims))
    return inputs, outputs


def _angles(o: GraphBuilder, shape: ModelShape) -> tuple[str, str]:
    """Cosines and sines [B, 1, T, head_size] of the positions."""
    exponents = np.arange(0, shape.head_size, 2, dtype=np.float32) / np.float32(shape.head_size)
    frequencies = (np.float32(shape.rope_theta) ** -exponents).astype(np.float32)
    both = o.weight("frequencies", np.concatenate((frequencies, frequencies)))
    o.nodes.append(
        helper.make_node(
            "Cast", ["position_ids"], ["positions"], name="positions", to=TensorProto.FLOAT
        )
    )
    angles = o("Mul", o("Unsqueeze", "positions", o.whole(1, 3)), both)
    return o("Cos", angles), o("Sin", angles)


def _mask(o: GraphBuilder) -> str:
    """[B, 1, 1, T, P + T]: 0 where a new token may look at a token, else the least number."""
    past = o("Gather", o("Shape", "past_key_values.0.key"), o.whole(2, scalar=True))
    new = o("Gather", o("Shape", "input_ids"), o.whole(1, scalar=True))
    total, one = o("Add", past, new), o.whole(1, scalar=True)
    rows = o("Unsqueeze", o("Range", past, total, one), o.whole(1))
    columns = o("Unsqueeze", o("Range", o.whole(0, scalar=True), total, one), o.whole(0))
    shown = o("Unsqueeze", o("Greater", "attention_mask", o.whole(0)), o.whole(1, 2, 3))
    seen = o("And", o("LessOrEqual", columns, rows), shown)
    return o("Where", seen, o.real(0.0), o.real(float(_LEAST)))


def _norm(
    o: GraphBuilder, x: str, name: str, shape: ModelShape, weights: Mapping[str, np.ndarray]
) -> str:
    mean = o("ReduceMean", o("Mul", x, x), axes=[-1], keepdims=1)
    root = o("Sqrt", o("Add", mean, o.real(shape.norm_epsilon)))
    return o("Mul", o("Div", x, root), o.weight(name, weights[name]))


def _linear(o: GraphBuilder, x: str, name: str, weights: Mapping[str, np.ndarray]) -> str:
    return o("MatMul", x, o.weight(name, weights[f"{name}.weight"].T))


def _rotate(o: GraphBuilder, x: str, cosines: str, sines: str) -> str:
    first, second = o.pair("Split", x, axis=-1)
    turned = o("Concat", o("Neg", second), first, axis=-1)
    return o("Add", o("Mul", x, cosines), o("Mul", turned, sines))


def _attention(
    o: GraphBuilder,
    x: str,
    number: int,
    shape: ModelShape,
    weights: Mapping[str, np.ndarray],
    cosines: str,
    sines: str,
    mask: str,
) -> str:
    name = f"model.layers.{number}.self_attn"
    size, group = shape.head_size, shape.heads // shape.kv_heads

    def heads(part: str, count: int) -> str:
        split = o("Reshape", _linear(o, x, f"{name}.{part}", weights), o.whole(0, 0, count, size))
        return o("Transpose", split, perm=[0, 2, 1, 3])

    query = _rotate(o, heads("q_proj", shape.heads), cosines, sines)
    key = _rotate(o, heads("k_proj", shape.kv_heads), cosines, sines)
    value = heads("v_proj", shape.kv_heads)
    past = f"past_key_values.{number}"
    key = o("Concat", f"{past}.key", key, axis=2, to=f"present.{number}.key")
    value = o("Concat", f"{past}.value", value, axis=2, to=f"present.{number}.value")
    # Query heads that share a key head stand in a dimension of their own: [B, kv, group, T, size].
    query = o("Reshape", query, o.whole(0, shape.kv_heads, group, -1, size))
    turned = o("Transpose", o("Unsqueeze", key, o.whole(2)), perm=[0, 1, 2, 4, 3])
    scores = o("Mul", o("MatMul", query, turned), o.real(size**-0.5))
    shares = o("Softmax", o("Add", scores, mask), axis=-1)
    mixed = o("MatMul", shares, o("Unsqueeze", value, o.whole(2)))
    joined = o("Reshape", mixed, o.whole(0, shape.heads, -1, size))
    joined = o("Transpose", joined, perm=[0, 2, 1, 3])
    return _linear(o, o("Reshape", joined, o.whole(0, 0, shape.hidden)), f"{name}.o_proj", weights)


def _feed_forward(
    o: GraphBuilder, x: str, name: str, _: ModelShape, weights: Mapping[str, np.ndarray]
) -> str:
    gate = _linear(o, x, f"{name}.mlp.gate_proj", weights)
    gate = o("Mul", gate, o("Sigmoid", gate))
    up = o("Mul", gate, _linear(o, x, f"{name}.mlp.up_proj", weights))
    return _linear(o, up, f"{name}.mlp.down_proj", weights)
