"""What is a graph with one layer changed and all others not? Cut from the graph in which all are.

To make each anew would cost a run of the quantizer a layer, most of the search's time. The nodes
that make the layer's output in the changed graph are walked back to tensors that the other graph
has too, and take the layer's place there.
"""

import onnx

from preamar_model.passes import layers


def only(floats: onnx.ModelProto, changed: onnx.ModelProto, name: str) -> onnx.ModelProto | None:
    """``floats`` with the layer as in ``changed``; None if it cannot be cut out there."""
    layer = next(node for node in floats.graph.node if node.name == name)
    makers = {out: node for node in changed.graph.node for out in node.output}
    known = {out for node in floats.graph.node for out in node.output}
    known |= {value.name for value in floats.graph.input}
    needed: dict[str, onnx.NodeProto] = {}
    weights: set[str] = set()
    wanted = list(layer.output)
    for tensor in wanted:  # grows while it is walked
        maker = makers.get(tensor)
        if maker is None:
            weights.add(tensor)
            continue
        if maker.output[0] in needed:
            continue
        needed[maker.output[0]] = maker
        wanted += [name for name in maker.input if name and name not in known]
    if not weights <= set(layers.held(changed)):
        return None
    return _joined(floats, changed, layer, needed, weights)


def _joined(
    floats: onnx.ModelProto,
    changed: onnx.ModelProto,
    layer: onnx.NodeProto,
    needed: dict[str, onnx.NodeProto],
    weights: set[str],
) -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.CopyFrom(changed)
    del model.graph.node[:]
    del model.graph.initializer[:]
    del model.graph.value_info[:]
    new = [node for node in changed.graph.node if node.output and node.output[0] in needed]
    for node in floats.graph.node:
        model.graph.node.extend(new if node.name == layer.name else [node])
    made = {out for node in new for out in node.output}
    for tensor in floats.graph.initializer:
        if tensor.name not in weights and tensor.name not in made:
            model.graph.initializer.append(tensor)
    for tensor in changed.graph.initializer:
        if tensor.name in weights:
            model.graph.initializer.append(tensor)
    return model
