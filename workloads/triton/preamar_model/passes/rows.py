"""How does a table of embeddings become INT8? Each row by a scale of its own, since one scale for
all would be that of the rarest outlier.

The rows that a call looks up are widened behind the lookup, so the table stays small in memory.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from preamar_model.passes import layers


def quantized(model: onnx.ModelProto, kept: frozenset[str]) -> onnx.ModelProto:
    """Changes ``model``: tables that only lookups along their first dimension read."""
    weights, readers = layers.held(model), layers.readers(model)
    free = {layer.weight for layer in layers.free(model, kept) if layer.op == "Gather"}
    # A table that a product reads too (tied embeddings) stays: it would have to be stored twice.
    free = {name for name in free if all(_lookup(node, name) for node in readers[name])}
    nodes = []
    for node in model.graph.node:
        if node.op_type == "Gather" and node.input[0] in free:
            nodes += _looked_up(node)
        else:
            nodes.append(node)
    for name in free:
        value = layers.array(weights[name])
        scale = np.maximum(np.abs(value).max(-1, keepdims=True) / 127, 1e-30).astype(np.float32)
        layers.replace(weights[name], np.rint(value / scale).astype(np.int8))
        model.graph.initializer.append(numpy_helper.from_array(scale, f"{name}_scale"))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _lookup(node: onnx.NodeProto, weight: str) -> bool:
    axis = next((entry.i for entry in node.attribute if entry.name == "axis"), 0)
    return node.op_type == "Gather" and node.input[0] == weight and axis == 0


def _looked_up(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    table, indices, out = node.input[0], node.input[1], node.output[0]
    values, wide, scales = (f"{out}_{part}" for part in ("values", "wide", "scales"))
    make = helper.make_node
    return [
        make("Gather", [table, indices], [values], name=node.name, axis=0),
        make("Cast", [values], [wide], name=f"{node.name}_cast", to=TensorProto.FLOAT),
        make("Gather", [f"{table}_scale", indices], [scales], name=f"{node.name}_scale", axis=0),
        make("Mul", [wide, scales], [out], name=f"{node.name}_scaled"),
    ]
