"""The experts of a layer, as nodes of the graph and as tensors with Mixtral's names."""

import re
from collections.abc import Mapping

import numpy as np

from preamar_train.export.nodes import GraphBuilder
from preamar_train.models.presets import ModelShape

_TOGETHER = re.compile(r"(.*\.experts)\.(w[123])")


def apart(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights with a tensor for each expert: `….experts.0.w1.weight`."""
    result = {}
    for name, value in weights.items():
        match = _TOGETHER.fullmatch(name)
        if match:
            parts = {f"{match[1]}.{n}.{match[2]}.weight": each for n, each in enumerate(value)}
            result |= {part: np.ascontiguousarray(each) for part, each in parts.items()}
        else:
            result[name] = value
    return result


def network(
    o: GraphBuilder, x: str, name: str, shape: ModelShape, weights: Mapping[str, np.ndarray]
) -> str:
    """What the experts chosen by each token [B, T, hidden] say, weighted by the router. An expert
    computes its own tokens only."""
    name = f"{name}.block_sparse_moe"
    flat = o("Reshape", x, o.whole(-1, shape.hidden))
    gate = o.weight(f"{name}.gate", weights[f"{name}.gate.weight"].T)
    likely = o("Softmax", o("MatMul", flat, gate), axis=-1)
    shares, chosen = o.pair("TopK", likely, o.whole(shape.active_experts), axis=-1)
    shares = o("Div", shares, o("ReduceSum", shares, o.whole(-1), keepdims=1))
    none = o("Mul", likely, o.real(0.0))
    shares = o("ScatterElements", none, chosen, shares, axis=1)  # [tokens, experts]
    total = o("Mul", flat, o.real(0.0))
    for number in range(shape.experts):
        share = o("Gather", shares, o.whole(number), axis=1)  # [tokens, 1]
        rows = o("NonZero", o("Squeeze", share, o.whole(1)))
        rows = o("Transpose", rows, perm=[1, 0])  # [chosen, 1]
        y = o("GatherND", flat, rows)
        own = {w: f"{name}.experts.{number}.{w}" for w in ("w1", "w2", "w3")}
        w1, w2, w3 = (
            o.weight(own[w], weights[f"{name}.experts.{w}"][number].T) for w in ("w1", "w2", "w3")
        )
        gated = o("MatMul", y, w1)
        gated = o("Mul", o("Mul", gated, o("Sigmoid", gated)), o("MatMul", y, w3))
        y = o("Mul", o("MatMul", gated, w2), o("GatherND", share, rows))
        total = o("ScatterND", total, rows, y, reduction="add")
    return o("Reshape", total, o("Shape", x))
