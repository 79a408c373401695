"""Writes the nodes of an ONNX graph, one call each."""

import numpy as np
import onnx
from onnx import helper, numpy_helper


class GraphBuilder:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._known: dict[str, str] = {}

    def weight(self, name: str, value: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def whole(self, *values: int, scalar: bool = False) -> str:
        name = f"whole_{'_'.join(map(str, values))}{'_scalar' if scalar else ''}"
        if name not in self._known:
            value = np.array(values[0] if scalar else values, dtype=np.int64)
            self._known[name] = self.weight(name, value)
        return name

    def real(self, value: float) -> str:
        name = f"real_{value!r}"
        if name not in self._known:
            self._known[name] = self.weight(name, np.array(value, dtype=np.float32))
        return name

    def __call__(self, kind: str, *inputs: str, to: str | None = None, **attributes) -> str:
        out = to or f"n{len(self.nodes)}_{kind}"
        self.nodes.append(helper.make_node(kind, list(inputs), [out], name=out, **attributes))
        return out

    def pair(self, kind: str, *inputs: str, **attributes) -> tuple[str, str]:
        outs = [f"n{len(self.nodes)}_{kind}_{i}" for i in range(2)]
        self.nodes.append(helper.make_node(kind, list(inputs), outs, name=outs[0], **attributes))
        return outs[0], outs[1]
