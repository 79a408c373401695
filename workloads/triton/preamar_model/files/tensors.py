"""Which tensors does an ONNX model take and give, in Triton's words?

`batched` is true when every tensor's first dimension is free and means the same; Triton may then
join requests along it. A first dimension that is named for time is no batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import onnx
from onnx import TensorProto as T

from preamar_model.files.pbtxt import EnumWord
from preamar_model.refusal import unsupported

TYPES = {
    T.BOOL: "BOOL", T.UINT8: "UINT8", T.UINT16: "UINT16", T.UINT32: "UINT32", T.UINT64: "UINT64",
    T.INT8: "INT8", T.INT16: "INT16", T.INT32: "INT32", T.INT64: "INT64",
    T.FLOAT16: "FP16", T.BFLOAT16: "BF16", T.FLOAT: "FP32", T.DOUBLE: "FP64", T.STRING: "STRING",
}  # fmt: skip
TIME = ("seq", "time", "len", "frame", "step", "token", "past")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    name: str
    kind: int
    shape: tuple[int | str | None, ...]
    """A number, the name of a free dimension, or None for a free one without a name."""

    def field(self, batched: bool) -> Mapping[str, object]:
        dims = [n if isinstance(n, int) else -1 for n in self.shape[1 if batched else 0 :]]
        # Triton has no tensor without dimensions: callers see [1], and the backend takes it away.
        return {"name": self.name, **self.typed(), "dims": dims or [1]}

    def typed(self) -> Mapping[str, object]:
        return {"data_type": EnumWord("TYPE_" + TYPES[self.kind])}


@dataclass(frozen=True, slots=True)
class Signature:
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def batched(self) -> bool:
        firsts = [
            tensor.shape[0] if len(tensor.shape) > 1 else 0
            for tensor in (*self.inputs, *self.outputs)
        ]
        names = {first for first in firsts if isinstance(first, str)}
        free = all(not isinstance(first, int) for first in firsts)
        return (
            bool(self.inputs)
            and free
            and len(names) <= 1
            and not any(name.lower().startswith(TIME) for name in names)
        )

    def input(self, name: str) -> TensorSpec | None:
        return next((tensor for tensor in self.inputs if tensor.name == name), None)

    def output(self, name: str) -> TensorSpec | None:
        return next((tensor for tensor in self.outputs if tensor.name == name), None)


def signature(model: onnx.ModelProto) -> Signature:
    """Raises `Refusal` for tensors that Triton has no word for."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = tuple(_tensor(value) for value in model.graph.input if value.name not in weights)
    return Signature(inputs, tuple(_tensor(value) for value in model.graph.output))


def _tensor(value: onnx.ValueInfoProto) -> TensorSpec:
    held = value.type.WhichOneof("value")
    if held != "tensor_type":
        raise unsupported(
            f"{value.name} is a {(held or 'value without a type').removesuffix('_type')}, not a tensor; "
            "export the model so that it takes and gives plain tensors."
        )
    kind = value.type.tensor_type.elem_type
    if kind not in TYPES:
        raise unsupported(
            f"{value.name} has type {T.DataType.Name(kind)}, which Triton does not carry."
        )
    if not value.type.tensor_type.HasField("shape"):
        raise unsupported(f"{value.name} declares no shape, not even its number of dimensions.")
    return TensorSpec(
        value.name, kind, tuple(_dim(dim) for dim in value.type.tensor_type.shape.dim)
    )


def _dim(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    if dim.HasField("dim_value"):
        # Some exporters write a free dimension as 0 or -1.
        return int(dim.dim_value) if dim.dim_value > 0 else None
    return dim.dim_param or None
