"""How do products become INT8? By onnxruntime.quantization, in the form VNNI multiplies: unsigned
activations by signed weights, a scale for each output channel.

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

from preamar_model.optimize import layers
from preamar_model.optimize.session import Feed


class Scheme(StrEnum):
    DYNAMIC = "Dynamic"
    PRODUCTS = "StaticProducts"
    """Convolutions and products alone."""
    STATIC = "Static"
    """All operators that ONNX Runtime has in integers."""


def schemes(model: onnx.ModelProto) -> list[Scheme]:
    """Which are worth a try: by what the graph is made of."""
    ops = {layer.op for layer in layers.find(model)}
    if "Conv" in ops:
        return [Scheme.PRODUCTS, Scheme.STATIC]
    return [Scheme.DYNAMIC] if ops & {"MatMul", "Gemm"} else []


class Quantizer:
    """Makes integers of one float graph again and again, its ranges measured once."""

    def __init__(self, scheme: Scheme, samples: Sequence[Feed], folder: Path) -> None:
        self.scheme = scheme
        self.samples = samples
        self.ranges = folder / f"{scheme}.ranges"

    def __call__(self, model: onnx.ModelProto, kept: frozenset[str]) -> onnx.ModelProto:
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic
        from onnxruntime.quantization import quantize_static as static

        names = [n.name for n in model.graph.node if n.name in kept]
        types = [QuantType.QUInt8, QuantType.QInt8]
        with _quiet(), tempfile.TemporaryDirectory(prefix="preamar-") as folder:
            target = Path(folder, "quantized.onnx")
            if self.scheme is Scheme.DYNAMIC:
                quantize_dynamic(
                    model,
                    target,
                    # Gemm has no kernel of this kind; ONNX Runtime splits it into a product first.
                    op_types_to_quantize=["MatMul", "Gemm"],
                    per_channel=True,
                    weight_type=types[1],
                    nodes_to_exclude=names,
                    extra_options={"MatMulConstBOnly": True},
                )
            else:
                products = self.scheme is Scheme.PRODUCTS
                static(
                    model,
                    target,
                    _Reader(self.samples),
                    quant_format=QuantFormat.QDQ,
                    op_types_to_quantize=["Conv", "MatMul", "Gemm"] if products else None,
                    per_channel=True,
                    activation_type=types[0],
                    weight_type=types[1],
                    nodes_to_exclude=names,
                    extra_options={"MatMulConstBOnly": True},
                    calibration_cache_path=str(self.ranges),
                )
            return onnx.load(str(target))


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
