"""How do weights become 16 bits wide? Stored so, and widened by a cast when the model is loaded.

ONNX Runtime has hardly any 16-bit arithmetic for CPUs: a graph in FP16 would be run with casts
around every node, and slower than FP32. A cast behind a weight is folded away at load, so the
file halves, and speed and memory stay those of FP32.
"""

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper

from preamar_model.passes import layers

KINDS = {"FP16": np.float16, "BF16": ml_dtypes.bfloat16}


def narrowed(model: onnx.ModelProto, precision: str, kept: frozenset[str]) -> onnx.ModelProto:
    """Changes ``model``: every layer's weight but those of ``kept``."""
    weights = layers.held(model)
    casts = []
    for name in dict.fromkeys(layer.weight for layer in layers.free(model, kept)):
        value = layers.array(weights[name])
        with np.errstate(over="ignore"):  # too large for 16 bits: infinite, and seen by the judge
            layers.replace(weights[name], value.astype(KINDS[precision]))
        weights[name].name = f"{name}_{precision.lower()}"
        casts.append(
            helper.make_node(
                "Cast",
                [weights[name].name],
                [name],
                name=f"{name}_widened",
                to=TensorProto.FLOAT,
            )
        )
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model
