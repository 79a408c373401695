"""Where does a decoder choose experts? At each TopK that takes as many as config.json says from as many
as it says; the choice becomes one more output of the graph, and changes nothing else.
"""

from collections.abc import Mapping

import onnx
from onnx import TensorProto, helper, numpy_helper

CHOICE = "preamar_experts."
"""The outputs' names, before the number of the layer."""
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
ACTIVE = ("num_experts_per_tok", "num_experts_per_token", "moe_topk")


def expose(model: onnx.ModelProto, config: Mapping[str, object]) -> tuple[int, list[str]]:
    """How many experts a layer has, and the names of the outputs that were added, int64 with a last
    dimension of the experts of each token; 0 and none where no router is recognised."""
    experts, active = _count(config, EXPERTS), _count(config, ACTIVE)
    if not experts or not active or active >= experts:
        return 0, []
    known = {tensor.name: tensor for tensor in model.graph.initializer}
    known |= {
        node.output[0]: attribute.t
        for node in model.graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    }
    chosen = [
        node.output[1]
        for node in model.graph.node
        if node.op_type == "TopK" and len(node.output) == 2 and _takes(known, node, active)
    ]
    # A sampler inside the graph takes a TopK too; only a router for each layer of experts is sure.
    layers = _count(config, ("num_hidden_layers",))
    if not chosen or len(chosen) > (layers or len(chosen)):
        return 0, []
    names = [f"{CHOICE}{number}" for number in range(len(chosen))]
    for name, choice in zip(names, chosen, strict=True):
        model.graph.node.append(helper.make_node("Identity", [choice], [name], name=name))
        # Routers see [tokens, experts] or [batch, tokens, experts]: the shape is left open.
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.INT64, None))
    return experts, names


def _takes(known: Mapping[str, onnx.TensorProto], node: onnx.NodeProto, count: int) -> bool:
    held = known.get(node.input[1])
    return held is not None and numpy_helper.to_array(held).reshape(-1).tolist() == [count]


def _count(config: Mapping[str, object], names: tuple[str, ...]) -> int:
    values = [config.get(name) for name in names]
    return next((v for v in values if isinstance(v, int) and not isinstance(v, bool)), 0)
