"""Which samples did the owner give? Read and held against the model's inputs; never unpickled."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx

from preamar_model.files.tensors import Signature, TensorSpec
from preamar_model.passes.session import Feed
from preamar_model.refusal import Refusal, RefusalReason


def lines(text: str) -> list[str]:
    """The lines of a .txt file, or of all in a directory, without empty ones."""
    found = [
        line.strip()
        for path in _files(text, ".txt")
        for line in path.read_text(errors="replace").splitlines()
    ]
    return [line for line in found if line]


def arrays(text: str, signature: Signature) -> list[Feed]:
    """One feed a row where the model takes batches, else one a file."""
    feeds: list[Feed] = []
    for path in _files(text, ".npz"):
        try:
            with np.load(path, allow_pickle=False) as held:
                feed = {name: held[name] for name in held.files}
        except (OSError, ValueError, EOFError) as error:
            raise wrong(f"{path.name} is not an .npz of plain arrays: {error}.") from error
        if missing := {t.name for t in signature.inputs} ^ set(feed):
            known = ", ".join(t.name for t in signature.inputs)
            raise wrong(
                f"{path.name}: {min(missing)} is missing or unknown; the model takes {known}."
            )
        for tensor in signature.inputs:
            _fits(path, tensor, feed[tensor.name])
        feeds += _rows(feed) if signature.batched else [feed]
    return feeds


def _rows(feed: Feed) -> Iterator[Feed]:
    count = min(len(value) for value in feed.values())
    return ({k: v[at : at + 1] for k, v in feed.items()} for at in range(count))


def _fits(path: Path, tensor: TensorSpec, value: np.ndarray) -> None:
    kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.kind)
    same = len(tensor.shape) == value.ndim and all(
        not isinstance(n, int) or n == m for n, m in zip(tensor.shape, value.shape, strict=True)
    )
    if value.dtype != kind or not same:
        wanted = [n if isinstance(n, int) else "any" for n in tensor.shape]
        raise wrong(
            f"{path.name}: {tensor.name} is {value.dtype} {list(value.shape)}, the model takes {kind} {wanted}."
        )


def _files(text: str, suffix: str) -> list[Path]:
    path = Path(text)
    found = [path] if path.is_file() else sorted(path.glob(f"*{suffix}"))
    if not found or any(each.suffix != suffix for each in found):
        raise wrong(f"There is no {suffix} file at {path}, from which this task is calibrated.")
    return found


def wrong(message: str) -> Refusal:
    return Refusal(RefusalReason.CALIBRATION_INVALID, message)
