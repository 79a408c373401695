"""Which weights of a layer become zero? The smallest: of the whole layer, or two of each four.

Groups of four lie along the dimension that is summed over, as sparse tensor cores want it. A CPU
multiplies zeros as it does all numbers: the file packs smaller, and nothing is faster.
"""

import numpy as np
import onnx

from preamar_model.passes import layers
from preamar_model.passes.layers import GraphLayer

OPS = ("MatMul", "Gemm", "Conv")


def suited(model: onnx.ModelProto, sparsity: str) -> list[GraphLayer]:
    """The layers whose shape allows it. Tables are left out: a zeroed word vector means nothing."""
    weights = layers.held(model)
    nodes = {node.name: node for node in model.graph.node}
    return [
        layer
        for layer in layers.find(model)
        if layer.op in OPS
        and (
            sparsity != "TwoFour"
            or weights[layer.weight].dims[_summed(nodes[layer.name], weights[layer.weight].dims)]
            % 4
            == 0
        )
    ]


def pruned(
    model: onnx.ModelProto, sparsity: str, ratio: float, kept: frozenset[str]
) -> onnx.ModelProto:
    """Changes ``model``: ``ratio`` of each suited layer's weights but those of ``kept``."""
    weights = layers.held(model)
    nodes = {node.name: node for node in model.graph.node}
    names = {layer.name for layer in suited(model, sparsity)}
    done: set[str] = set()
    for layer in layers.free(model, kept):
        if layer.name not in names or layer.weight in done:
            continue
        done.add(layer.weight)
        value = layers.array(weights[layer.weight])
        if sparsity == "TwoFour":
            value = two_of_four(value, _summed(nodes[layer.name], value.shape))
        else:
            value = smallest(value, ratio)
        layers.replace(weights[layer.weight], value)
    return model


def smallest(value: np.ndarray, ratio: float) -> np.ndarray:
    """Zeroes exactly ``ratio`` of the numbers (rounded down), even where many are equal."""
    flat = value.reshape(-1).copy()
    count = int(flat.size * ratio)
    if count:
        flat[np.argpartition(np.abs(flat), count - 1)[:count]] = 0
    return flat.reshape(value.shape)


def two_of_four(value: np.ndarray, axis: int) -> np.ndarray:
    """Zeroes the two smallest of each four neighbours along ``axis``, a multiple of four long."""
    moved = np.moveaxis(value, axis, -1).copy()
    groups = moved.reshape(-1, 4)
    order = np.argsort(np.abs(groups), axis=1, kind="stable")
    np.put_along_axis(groups, order[:, :2], 0, axis=1)
    return np.ascontiguousarray(np.moveaxis(groups.reshape(moved.shape), -1, axis))


def share(model: onnx.ModelProto) -> float:
    """Which share of all layers' weights is zero."""
    weights = layers.held(model)
    names = {layer.weight for layer in layers.find(model) if layer.op in OPS}
    total = sum(int(np.prod(weights[name].dims)) for name in names)
    zero = sum(int((layers.array(weights[name]) == 0).sum()) for name in names)
    return zero / total if total else 0.0


def _summed(node: onnx.NodeProto, dims: object) -> int:
    """The dimension of the weight that a product sums over."""
    if node.op_type == "Conv":
        return 1
    flipped = any(entry.name == "transB" and entry.i for entry in node.attribute)
    return len(dims) - (1 if flipped else 2)
