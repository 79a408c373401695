"""How do products become INT8? By onnxruntime.quantization, in the form VNNI multiplies: unsigned
activations by signed weights, a scale for each output channel. Where a processor without it would
overflow, weights take seven bits.

Dynamic: each call measures its activations; no samples needed, the choice for transformers, whose
activations vary much. Static: ranges from samples, so that convolutions can stay in integers.
"""

import contextlib
import logging
import tempfile
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path

import onnx

from preamar_model.passes import layers
from preamar_model.passes.key import machine, saturates
from preamar_model.passes.session import Feed


class Scheme(StrEnum):
    DYNAMIC = "Dynamic"
    PRODUCTS = "StaticProducts"
    """Convolutions and products alone."""
    STATIC = "Static"
    """All operators that ONNX Runtime has in integers."""
    SYMMETRIC = "Symmetric"
    """For TensorRT, as `engine.eighths` makes it."""


def schemes(model: onnx.ModelProto) -> list[Scheme]:
    """Which are worth a try: by what the graph is made of."""
    ops = {layer.op for layer in layers.find(model)}
    dynamic = [Scheme.DYNAMIC] if "MatMul" in ops else []
    return [Scheme.PRODUCTS, Scheme.STATIC, *dynamic] if "Conv" in ops else dynamic


class Quantizer:
    """Makes integers of one float graph again and again, its ranges measured once."""

    def __init__(self, scheme: Scheme, samples: Sequence[Feed], folder: Path) -> None:
        self.scheme = scheme
        self.samples = samples
        self.ranges = folder / f"{scheme}.ranges"

    def __call__(self, model: onnx.ModelProto, kept: frozenset[str]) -> onnx.ModelProto:
        """A new graph. ``model`` is of no use afterwards: the tool moves its weights to a file."""
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic
        from onnxruntime.quantization import quantize_static as static

        names = self._chosen(model, kept)
        if not names:  # to the quantizer, an empty list means everything
            return model
        types = [QuantType.QUInt8, QuantType.QInt8]
        narrow = saturates(machine())
        with _quiet(), tempfile.TemporaryDirectory(prefix="preamar-") as folder:
            target = Path(folder, "quantized.onnx")
            if self.scheme is Scheme.DYNAMIC:
                quantize_dynamic(
                    model,
                    target,
                    op_types_to_quantize=["MatMul"],
                    per_channel=True,
                    reduce_range=narrow,
                    weight_type=types[1],
                    nodes_to_quantize=names,
                    extra_options={"MatMulConstBOnly": True},
                )
            else:
                products = self.scheme is Scheme.PRODUCTS
                static(
                    model,
                    target,
                    _Reader(self.samples),
                    quant_format=QuantFormat.QDQ,
                    op_types_to_quantize=["Conv", "MatMul"] if products else None,
                    per_channel=True,
                    reduce_range=narrow,
                    activation_type=types[0],
                    weight_type=types[1],
                    nodes_to_quantize=names,
                    extra_options={"MatMulConstBOnly": True},
                    calibration_cache_path=str(self.ranges),
                )
            return onnx.load(str(target))

    def _chosen(self, model: onnx.ModelProto, kept: frozenset[str]) -> list[str]:
        """The nodes to make integers of, by name: a kept layer must find floats around it."""
        ops = {"MatMul"} if self.scheme is Scheme.DYNAMIC else {"MatMul", "Conv"}
        chosen = {layer.name for layer in layers.free(model, kept) if layer.op in ops}
        if self.scheme is Scheme.STATIC:
            chosen |= _between(model, chosen)
        return [node.name for node in model.graph.node if node.name in chosen]


def _between(model: onnx.ModelProto, chosen: set[str]) -> set[str]:
    """The nodes that take nothing but what comes of chosen layers."""
    known = {layer.name for layer in layers.find(model)}
    weights = set(layers.held(model))
    integer: set[str] = set()
    found: set[str] = set()
    for node in model.graph.node:  # producers come before consumers
        inputs = [name for name in node.input if name and name not in weights]
        if node.name in chosen or (
            node.name not in known and inputs and all(name in integer for name in inputs)
        ):
            integer.update(node.output)
            found.add(node.name)
    return found


class _Reader:
    """The samples one after another, as the calibrator asks for them."""

    def __init__(self, samples: Sequence[Feed]) -> None:
        self.rest = iter(samples)

    def get_next(self) -> Feed | None:
        return next(self.rest, None)

    def __iter__(self) -> Iterator[Feed]:
        return self.rest


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The quantizer advises on the root logger; what it advises has been done."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
