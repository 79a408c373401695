"""How does a Gemm become a product and a sum? So that all that follows knows one kind of product.

ONNX Runtime joins them again when it loads the model, and its quantizer splits them too, but under
names of its own, by which no layer would be found.
"""

import onnx
from onnx import helper

from preamar_model.passes import layers


def split(model: onnx.ModelProto) -> onnx.ModelProto:
    """Changes ``model``: each plain Gemm by a weight of its own."""
    weights, readers = layers.held(model), layers.readers(model)
    nodes = []
    for node in model.graph.node:
        weight = weights.get(node.input[1]) if node.op_type == "Gemm" else None
        told = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
        plain = told.get("alpha", 1) == 1 and told.get("beta", 1) == 1 and not told.get("transA")
        if weight is None or not plain or len(readers[weight.name]) > 1:
            nodes.append(node)
            continue
        if told.get("transB"):
            layers.replace(weight, layers.array(weight).T)
        bias = node.input[2] if len(node.input) > 2 else ""
        product = f"{node.output[0]}_product" if bias else node.output[0]
        nodes.append(helper.make_node("MatMul", node.input[:2], [product], name=node.name))
        if bias:
            added = helper.make_node("Add", [product, bias], node.output, name=f"{node.name}_bias")
            nodes.append(added)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model
