"""Where can whole units be taken out of a graph? Between two layers with nothing but a bias and
element-wise functions between them, as in a feed-forward network: a column of the first weight,
its number in the bias, and a row of the second weight go together.

Whatever meets other tensors of that width on its way (residuals, gates, attention heads, norms)
is no such place.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx
from onnx import TensorProto

from preamar_model.passes import layers

ALONE = {"Relu", "Gelu", "Erf", "Tanh", "Sigmoid", "Identity", "HardSigmoid", "HardSwish"}
ALONE |= {"LeakyRelu", "Elu", "Softplus", "Clip"}
TOGETHER = {"Add", "Sub", "Mul", "Div", "Pow"}


@dataclass(slots=True)
class Pair:
    first: onnx.NodeProto
    units: int
    seconds: list[onnx.NodeProto] = field(default_factory=list)
    biases: list[str] = field(default_factory=list)

    def names(self) -> set[str]:
        return {self.first.name, *(node.name for node in self.seconds)}


def find(model: onnx.ModelProto) -> list[Pair]:
    """Every place, in the graph's order."""
    graph = _Graph(model)
    found = [graph.pair(node) for node in model.graph.node if graph.is_layer(node)]
    return [pair for pair in found if pair is not None and pair.seconds]


class _Graph:
    def __init__(self, model: onnx.ModelProto) -> None:
        self.weights: Mapping[str, TensorProto] = layers.held(model)
        self.readers = layers.readers(model)
        self.outputs = {value.name for value in model.graph.output}

    def is_layer(self, node: onnx.NodeProto) -> bool:
        """A product or convolution whose weight is its own and large enough."""
        if node.op_type not in {"MatMul", "Conv"} or node.domain not in {"", "ai.onnx"}:
            return False
        weight = self._own(node.input[1])
        if weight is None or weight.data_type != TensorProto.FLOAT:
            return False
        if node.op_type == "MatMul":
            return len(weight.dims) == 2
        group = next((entry.i for entry in node.attribute if entry.name == "group"), 1)
        return group == 1

    def pair(self, first: onnx.NodeProto) -> Pair | None:
        axis = 0 if first.op_type == "Conv" else 1
        pair = Pair(first, self.weights[first.input[1]].dims[axis])
        if first.op_type == "Conv" and len(first.input) > 2:
            pair.biases.append(first.input[2])
        between = self._walked(pair)
        if between is None:
            return None
        inside = {first.output[0], *(node.output[0] for node in between)}
        others = (name for node in between for name in node.input if name and name not in inside)
        if not all([self._constant(name, pair) for name in others]):  # noqa: C419 - notes biases
            return None
        if any(self._own(name) is None for name in pair.biases):
            return None
        pair.biases = list(dict.fromkeys(pair.biases))
        return pair

    def _walked(self, pair: Pair) -> list[onnx.NodeProto] | None:
        """The element-wise nodes behind the first layer; None if others take its units too."""
        region, between = [pair.first.output[0]], []
        for tensor in region:  # grows while it is walked
            if tensor in self.outputs:
                return None
            for node in self.readers.get(tensor, []):
                if self._takes(node, tensor, pair):
                    pair.seconds.append(node)
                elif node.op_type in ALONE | TOGETHER:
                    between.append(node)
                    region += [node.output[0]] if node.output[0] not in region else []
                else:
                    return None
        return between

    def _takes(self, node: onnx.NodeProto, tensor: str, pair: Pair) -> bool:
        if node.op_type != pair.first.op_type or not self.is_layer(node) or node.input[0] != tensor:
            return False
        axis = 1 if node.op_type == "Conv" else 0
        return self.weights[node.input[1]].dims[axis] == pair.units

    def _constant(self, name: str, pair: Pair) -> bool:
        """A single number, or one for each unit, which then is a bias."""
        tensor = self.weights.get(name)
        if tensor is None:
            return False
        dims = [n for n in tensor.dims if n != 1]
        if not dims:
            return True
        # One number a unit, along the dimension that the units are in.
        last = len(tensor.dims) - (3 if pair.first.op_type == "Conv" else 1)
        if dims == [pair.units] and last >= 0 and tensor.dims[last] == pair.units:
            pair.biases.append(name)
            return True
        return False

    def _own(self, name: str) -> TensorProto | None:
        tensor = self.weights.get(name)
        return tensor if tensor is not None and len(self.readers.get(name, [])) == 1 else None
