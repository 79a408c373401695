"""Which tensors stand in when nobody gave any? Blocks of even brightness with a little noise, from
-1 to 1: images have edges and areas, which white noise has not.

Only for inputs of floats: what an integer means (an index? a length?) nobody can guess.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from onnx import TensorProto

from preamar_model.files import onnx_file
from preamar_model.files.tensors import Signature, TensorSpec
from preamar_model.optimize.samples_given import wrong
from preamar_model.passes.session import Feed, Session

SIZES = (64, 224, 32, 16, 8, 4, 3, 2, 1)
"""What is tried for a free dimension, until the model takes it."""
BATCH = 8


def feeds(folder: Path, signature: Signature, count: int, seed: int) -> list[Feed]:
    """Raises `Refusal` when no such tensors suit the model."""
    floats = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
    if other := [t.name for t in signature.inputs if t.kind not in floats]:
        raise wrong(
            f"{other[0]} takes no floats, so samples cannot be drawn: set spec.optimize.calibrationUri "
            "to a folder of .npz files, one array for each input."
        )
    session = Session(str(folder / onnx_file.MODEL))
    for size in SIZES:
        chance = np.random.default_rng(seed)
        first = _feed(chance, signature.inputs, size)
        try:
            session(first)
        except Exception:  # noqa: BLE001 - ONNX Runtime's errors share no other base
            continue
        return [first, *(_feed(chance, signature.inputs, size) for _ in range(count - 1))]
    raise wrong(
        "The model takes none of the sizes tried for its free dimensions: set "
        "spec.optimize.calibrationUri to a folder of .npz files, one array for each input."
    )


def together(rows: list[Feed]) -> tuple[Feed, int] | None:
    """Several rows of one size as one feed, and how many they are."""
    shape = {name: value.shape for name, value in rows[-1].items()}
    alike = [row for row in rows if {n: v.shape for n, v in row.items()} == shape][:BATCH]
    return {name: np.concatenate([row[name] for row in alike]) for name in shape}, len(alike)


def _feed(chance: np.random.Generator, inputs: Iterable[TensorSpec], size: int) -> Feed:
    found = {}
    for tensor in inputs:
        dims = [n if isinstance(n, int) else size for n in tensor.shape]
        if dims and not isinstance(tensor.shape[0], int):
            dims[0] = 1
        kind = {TensorProto.FLOAT16: np.float16, TensorProto.DOUBLE: np.float64}
        found[tensor.name] = _blocks(chance, dims).astype(kind.get(tensor.kind, np.float32))
    return found


def _blocks(chance: np.random.Generator, dims: list[int]) -> np.ndarray:
    coarse = [*dims[:-2], *(max(1, n // 8) for n in dims[-2:])]
    value = chance.uniform(-1, 1, coarse)
    for axis in range(max(0, len(dims) - 2), len(dims)):
        at = np.arange(dims[axis]) * value.shape[axis] // dims[axis]
        value = value.take(at, axis)
    return np.clip(value + 0.1 * chance.standard_normal(dims), -1, 1)
