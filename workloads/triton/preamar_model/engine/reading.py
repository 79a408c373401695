"""What does a plan that a user brings take and give, and how many rows at once? It says so itself, to the
TensorRT of this pod, which is also the only check that there is of whether the plan runs here.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from preamar_model.engine.build import Words, logger
from preamar_model.engine.device import Driver, Gpu
from preamar_model.files.tensors import TYPES, Signature, TensorSpec
from preamar_model.refusal import Refusal, invalid, unsupported


@dataclass(frozen=True, slots=True)
class Taken:
    """``rows``: requests that may be joined along the first dimension; 0 where that is no batch."""

    signature: Signature
    rows: int


class PlanReader:
    """The TensorRT and the GPU that are here."""

    def __init__(self, trt: Any, gpu: Gpu) -> None:
        self.trt, self.gpu = trt, gpu

    @property
    def capability(self) -> str:
        return self.gpu.capability

    def __call__(self, plan: Path) -> Taken:
        """Raises `Refusal` for one that does not run here."""
        words = Words()
        runtime = self.trt.Runtime(logger(self.trt, words))
        engine = runtime.deserialize_cuda_engine(plan.read_bytes())
        if engine is None:
            raise invalid(
                f"{plan.name} does not run on this GPU ({self.gpu.product}, {self.gpu.capability}) with "
                f"TensorRT {self.trt.__version__}: {words}. Build it here, or give the model as ONNX."
            )
        return taken(self.trt, engine)


def reader() -> PlanReader | None:
    """None where the image has no TensorRT for Python: Triton finds the tensors out then. Raises
    `NoGpu`."""
    from preamar_model.engine.workshop import package

    try:
        trt = package()
    except Refusal:
        return None
    return PlanReader(trt, Driver().gpu())


def taken(trt: Any, engine: Any) -> Taken:
    """Rows are joined where each tensor has a free first dimension, up to what the first profile
    allows for all of them."""
    found: dict[bool, list[TensorSpec]] = {True: [], False: []}
    rows = []
    for name in (engine.get_tensor_name(at) for at in range(engine.num_io_tensors)):
        given = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        shape = tuple(n if n >= 0 else None for n in engine.get_tensor_shape(name))
        found[given].append(
            TensorSpec(name, _kind(trt, engine.get_tensor_dtype(name), name), shape)
        )
        if given:
            least, _, most = engine.get_tensor_profile_shape(name, 0)
            rows.append(int(most[0]) if len(shape) > 1 and least[0] <= 1 else 0)
    signature = Signature(tuple(found[True]), tuple(found[False]))
    return Taken(signature, min(rows) if signature.batched else 0)


def _kind(trt: Any, dtype: Any, name: str) -> int:
    if dtype == trt.DataType.BF16:  # which NumPy does not know
        return int(TensorProto.BFLOAT16)
    try:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(trt.nptype(dtype)))
    except (TypeError, KeyError, ValueError) as error:
        raise unsupported(f"{name} has type {dtype}, which Triton does not carry.") from error
    if kind not in TYPES:
        raise unsupported(f"{name} has type {dtype}, which Triton does not carry.")
    return int(kind)
