"""How does a graph say that layers compute in 8 bits? By a pair of QuantizeLinear and DequantizeLinear
on both inputs of each, which TensorRT melts into the product.

TensorRT wants both symmetric: signed, zero at zero. INT8 has 127 steps to each side, FP8 (E4M3) goes to
448. A scale is the largest magnitude over that: one for an activation, measured on samples, one for each
output of a weight. Biases and sums stay in floats. ONNX Runtime's quantizer makes unsigned
activations for CPUs, and its FP8 takes its scales from a distribution and not from the largest.
"""

from collections.abc import Sequence

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, version_converter

from preamar_model.files import onnx_file
from preamar_model.passes import layers
from preamar_model.passes.integers import Scheme
from preamar_model.passes.session import Feed, Session

LARGEST = {"INT8": 127.0, "FP8": 448.0}
KINDS = {"INT8": np.int8, "FP8": ml_dtypes.float8_e4m3fn}
OPSET = {"INT8": 13, "FP8": 19}
"""Where a scale for each channel, and where FP8, came in."""
OPS = ("MatMul", "Conv")
LEAST = 1e-12


class EightBits:
    """Makes 8 bits of one float graph again and again, its activations measured once."""

    scheme = Scheme.SYMMETRIC

    def __init__(self, precision: str, samples: Sequence[Feed]) -> None:
        self.precision = precision
        self.samples = samples
        self.largest: dict[str, float] = {}

    def __call__(self, model: onnx.ModelProto, kept: frozenset[str]) -> onnx.ModelProto:
        """A graph in which the products and convolutions but those of ``kept`` take 8 bits."""
        if onnx_file.opset(model) < OPSET[self.precision]:
            model = version_converter.convert_version(model, OPSET[self.precision])
        chosen = {layer.name for layer in layers.free(model, kept) if layer.op in OPS}
        taken = [node.input[0] for node in model.graph.node if node.name in chosen]
        self._measure(model, [name for name in dict.fromkeys(taken) if name not in self.largest])
        held, pairs = layers.held(model), {}
        nodes: list[onnx.NodeProto] = []
        for node in model.graph.node:
            if node.name in chosen:
                for place, axis in (
                    (0, None),
                    (1, 0 if node.op_type == "Conv" else len(held[node.input[1]].dims) - 1),
                ):
                    name = node.input[place]
                    if name not in pairs:
                        pairs[name] = f"{name}_8"
                        scale = self._scale(name, held.get(name), axis)
                        nodes += self._pair(model, name, scale, axis)
                    node.input[place] = pairs[name]
            nodes.append(node)
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        return model

    def _measure(self, model: onnx.ModelProto, names: list[str]) -> None:
        """The largest magnitude of each activation over all samples."""
        if not names:
            return
        spoken = onnx.ModelProto()
        spoken.CopyFrom(model)
        known = {value.name for value in spoken.graph.output}
        given = {value.name for value in spoken.graph.input}
        asked = [name for name in names if name not in given]
        spoken.graph.output.extend(
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
            for name in asked
            if name not in known
        )
        session = Session(spoken)
        for feed in self.samples:
            found = session(feed, asked) if asked else {}
            for name in names:
                value = found[name] if name in found else feed[name]
                most = float(np.abs(value).max()) if value.size else 0.0
                self.largest[name] = max(self.largest.get(name, 0.0), most)

    def _scale(self, name: str, weight: TensorProto | None, axis: int | None) -> np.ndarray:
        if weight is None or axis is None:
            most = np.float32(self.largest[name])
        else:
            value = np.abs(layers.array(weight))
            rest = tuple(at for at in range(value.ndim) if at != axis)
            most = value.max(rest)
        return np.maximum(np.asarray(most, np.float32) / LARGEST[self.precision], LEAST).astype(
            np.float32
        )

    def _pair(
        self, model: onnx.ModelProto, name: str, scale: np.ndarray, axis: int | None
    ) -> list[onnx.NodeProto]:
        zero = np.zeros(scale.shape, KINDS[self.precision])
        model.graph.initializer.extend([
            numpy_helper.from_array(scale, f"{name}_scale"),
            numpy_helper.from_array(zero, f"{name}_zero"),
        ])  # fmt: skip
        given = {} if axis is None else {"axis": axis}
        scaled = [f"{name}_scale", f"{name}_zero"]
        make = helper.make_node
        return [
            make("QuantizeLinear", [name, *scaled], [f"{name}_q"], name=f"{name}_quantize", **given),
            make("DequantizeLinear", [f"{name}_q", *scaled], [f"{name}_8"], name=f"{name}_dequantize", **given),
        ]  # fmt: skip
