"""What can be optimised in a graph? Its layers: nodes that multiply by weights, or look them up.

A layer is known by its node's name. A weight that several nodes read belongs to all of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

PLACES = {"MatMul": 1, "Gemm": 1, "Conv": 1, "ConvTranspose": 1, "Gather": 0}
"""Which input of the node is the weight."""
LEAST = 64
"""Numbers; below that a tensor is no weight worth touching."""


@dataclass(frozen=True, slots=True)
class GraphLayer:
    name: str
    op: str
    weight: str
    size: int
    """Numbers in the weight."""


def find(model: onnx.ModelProto) -> list[GraphLayer]:
    """All layers, in the graph's order."""
    weights = held(model)
    found = []
    for node in model.graph.node:
        place = PLACES.get(node.op_type)
        if place is None or node.domain not in {"", "ai.onnx"} or len(node.input) <= place:
            continue
        weight = weights.get(node.input[place])
        if weight is None or weight.data_type != TensorProto.FLOAT or len(weight.dims) < 2:
            continue
        size = int(np.prod(weight.dims))
        if size >= LEAST:
            found.append(GraphLayer(node.name, node.op_type, weight.name, size))
    return found


def free(model: onnx.ModelProto, kept: Iterable[str]) -> list[GraphLayer]:
    """The layers that may be changed: not kept, and sharing no weight with one that is."""
    kept = set(kept)
    layers = find(model)
    bound = {layer.weight for layer in layers if layer.name in kept}
    return [layer for layer in layers if layer.weight not in bound]


def held(model: onnx.ModelProto) -> dict[str, TensorProto]:
    return {tensor.name: tensor for tensor in model.graph.initializer}


def readers(model: onnx.ModelProto) -> dict[str, list[onnx.NodeProto]]:
    """Which nodes read each tensor. Graphs inside nodes count: their node reads for them."""
    found: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in {*node.input, *_inner(node)}:
            found.setdefault(name, []).append(node)
    return found


def _inner(node: onnx.NodeProto) -> set[str]:
    names: set[str] = set()
    for attribute in node.attribute:
        for graph in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
            for inside in graph.node:
                names |= {*inside.input, *_inner(inside)}
            names |= {value.name for value in graph.output}
    return names


def array(tensor: TensorProto) -> np.ndarray:
    """A copy that may be written to."""
    return np.array(numpy_helper.to_array(tensor))


def replace(tensor: TensorProto, value: np.ndarray) -> None:
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), tensor.name))
