"""How does a graph say in which precision its layers compute? By the types of its tensors.

TensorRT from version 11 knows no other way: a network is strongly typed. Products and convolutions take
16 bits and give 32, everything between them stays as it was: sums, norms and softmax lose too much in
16 bits, and TensorRT melts the casts into the products.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper

from preamar_model.passes import half, layers

KINDS = {"FP16": TensorProto.FLOAT16, "BF16": TensorProto.BFLOAT16}
OPS = ("MatMul", "Gemm", "Conv")


def typed(model: onnx.ModelProto, precision: str, kept: frozenset[str]) -> onnx.ModelProto:
    """Changes ``model``: every product and convolution with weights but those of ``kept``."""
    names = {layer.name for layer in layers.free(model, kept) if layer.op in OPS}
    held, kind = layers.held(model), KINDS[precision]
    narrow: dict[str, str] = {}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.name not in names:
            nodes.append(node)
            continue
        for place, name in enumerate(node.input):
            if not name:
                continue
            if name not in narrow:
                narrow[name] = f"{name}_{precision.lower()}"
                if name in held:
                    model.graph.initializer.append(_stored(held[name], narrow[name], precision))
                else:
                    cast = helper.make_node(
                        "Cast", [name], [narrow[name]], name=f"{narrow[name]}_cast", to=kind
                    )
                    nodes.append(cast)
            node.input[place] = narrow[name]
        out = node.output[0]
        node.output[0] = f"{out}_{precision.lower()}_wide"
        wide = f"{node.name}_widened"
        nodes += [node, helper.make_node("Cast", [node.output[0]], [out], name=wide, to=1)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    _forget_unread(model)
    return model


def _stored(tensor: TensorProto, name: str, precision: str) -> TensorProto:
    new = TensorProto()
    new.name = name
    with np.errstate(over="ignore"):  # too large for 16 bits: infinite, and seen by the judge
        layers.replace(new, layers.array(tensor).astype(half.KINDS[precision]))
    return new


def _forget_unread(model: onnx.ModelProto) -> None:
    """Weights of 32 bits that nothing reads any more would double the file."""
    read = set(layers.readers(model)) | {value.name for value in model.graph.output}
    left = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(left)
