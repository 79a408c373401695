"""With which calls is a graph on a GPU warmed before it is ready, so that no caller waits for kernels?

The smallest call and the largest: one row and a whole batch, one token and a long text. Numbers are zeros,
which are valid ids and choose the same kernels as others; random data are random bytes to Triton, also
where a float would be NaN and an id beyond the table. Masks are ones: a row that is masked altogether can
end in an empty tensor. A call that fails keeps the model from being served, so what is not certain (a
free dimension without a bound, text, sizes that few machines have room for) is left out.
"""

from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path

import numpy as np
import onnx

from preamar_model.order import BuildSpec
from preamar_model.files.tensors import Signature, TensorSpec

FOLDER = "warmup"
"""Where Triton looks for files, beside the versions."""
TOKENS = 512
"""Of a text at most: how long a context may be says nothing of how long texts are."""
LARGEST = 256 << 20
"""Bytes of one input."""
Shapes = Mapping[str, tuple[int, ...]]


def calls(
    order: BuildSpec, signature: Signature, batch: int, longest: int, folder: Path
) -> list[Mapping[str, object]]:
    """`model_warmup` of a graph that takes `batch` rows, 0 where rows are a dimension of its own, and
    texts of `longest` tokens; files that it names are written to the model's `folder`."""
    found = []
    for rows, shapes in _sizes(order, signature, batch, longest):
        if any(_bytes(t, shapes[t.name]) * rows > LARGEST for t in signature.inputs):
            continue
        inputs = [
            {
                "key": t.name,
                "value": {**t.typed(), "dims": list(shapes[t.name]), **_data(t, shapes, folder)},
            }
            for t in signature.inputs
        ]
        found.append(
            {"name": f"call {len(found) + 1}", "batch_size": rows, "inputs": inputs, "count": 1}
        )
    return found


def _sizes(
    order: BuildSpec, signature: Signature, batch: int, longest: int
) -> Iterator[tuple[int, Shapes]]:
    """The rows that Triton makes of each call, and the shapes of one."""
    if any(t.kind == onnx.TensorProto.STRING for t in signature.inputs):
        return
    most = min(longest, TOKENS)
    if order.task == "Infer":
        shapes = {t.name: t.shape[1:] if batch else t.shape for t in signature.inputs}
        if all(isinstance(n, int) for shape in shapes.values() for n in shape):
            for rows in sorted({1, max(1, batch)}):
                yield rows, {name: shape or (1,) for name, shape in shapes.items()}
    elif order.task == "Embed" and most:
        for rows, tokens in sorted({(1, 1), (order.max_batch_size, most)}):
            yield 1, {t.name: _filled(t, rows, tokens) for t in signature.inputs}
    elif order.task == "Generate" and most > 1:
        # After one token that is there already: a tensor without numbers is no data to Triton.
        for tokens in sorted({1, most - 1}):
            yield 1, {t.name: _of_decoder(t, tokens) for t in signature.inputs}


def _filled(tensor: TensorSpec, *sizes: int) -> tuple[int, ...]:
    """The tensor's shape: a free dimension is as large as is said of its place, else 1."""
    free = (*sizes, *[1] * len(tensor.shape))
    return tuple(
        n if isinstance(n, int) else size for n, size in zip(tensor.shape, free, strict=False)
    )


def _of_decoder(tensor: TensorSpec, tokens: int) -> tuple[int, ...]:
    if tensor.name == "attention_mask":
        return _filled(tensor, 1, tokens + 1)
    if tensor.name in {"input_ids", "position_ids"}:
        return _filled(tensor, 1, tokens)
    return _filled(tensor)


def _data(tensor: TensorSpec, shapes: Shapes, folder: Path) -> Mapping[str, object]:
    if "mask" not in tensor.name.lower() or tensor.kind == onnx.TensorProto.BFLOAT16:
        return {"zero_data": True}
    count = prod(shapes[tensor.name])
    name = f"ones-{onnx.TensorProto.DataType.Name(tensor.kind).lower()}-{count}"
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    (folder / FOLDER / name).write_bytes(np.ones(count, _kind(tensor)).tobytes())
    return {"input_data_file": name}


def _bytes(tensor: TensorSpec, shape: tuple[int, ...]) -> int:
    return prod(shape) * _kind(tensor).itemsize


def _kind(tensor: TensorSpec) -> np.dtype:
    return onnx.helper.tensor_dtype_to_np_dtype(tensor.kind)
