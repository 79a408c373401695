"""What kind of model is this, and may it be loaded?

Files that run code when they are loaded (pickles, Python) are refused unless the owner trusts
them; names alone are not believed: a pickle under another name is still a pickle.
"""

import re
from enum import StrEnum
from pathlib import Path

from preamar_model.files.source import Source
from preamar_model.order import BuildSpec
from preamar_model.refusal import Refusal, RefusalReason, unsupported


class ModelKind(StrEnum):
    ONNX = "ONNX"
    SAFETENSORS = "SafeTensors"
    PYTHON = "Python"
    TENSORRT = "TensorRT"
    TENSORRT_LLM = "TensorRTLLM"
    VLLM = "VLLM"
    REPOSITORY = "Repository"
    """Several models, as Triton lays them out. No format of its own to ask for."""


PLANS = (".plan", ".engine")
CONFIGURED = re.compile(r"[^/]+/config\.pbtxt")
PICKLES = {".pt", ".pth", ".pkl", ".pickle", ".joblib", ".ckpt"}
OTHERS = {
    ".h5": "Keras files",
    ".keras": "Keras files",
    ".pb": "TensorFlow graphs",
    ".tflite": "TensorFlow Lite files",
    ".gguf": "GGUF files",
}
ENGINES: dict[str, str] = {ModelKind.VLLM: "vLLM", ModelKind.TENSORRT_LLM: "TensorRT-LLM"}
"""Formats of language models that are served by an engine of their own image."""
ASKED = {kind.value: kind for kind in ModelKind if kind is not ModelKind.REPOSITORY}


def recognise(source: Source, order: BuildSpec) -> ModelKind:
    """Raises `Refusal` when the format is unknown, not asked for, or needs trust."""
    if order.format != "Auto" and order.format not in ASKED:
        raise unsupported(
            f"Format {order.format} is not served by this image; it serves {', '.join(ASKED)}."
        )
    found = _language(source, order) or _find(source)
    if found is ModelKind.PYTHON and order.trust != "Code":
        raise Refusal(
            RefusalReason.CODE_NOT_TRUSTED,
            "The model is Python code, which runs when it is loaded; set spec.model.trust to Code if you trust it.",
        )
    if found is None:
        raise _unknown(source, order)
    if order.format != "Auto" and ASKED[order.format] is not found:
        raise unsupported(f"spec.model.format says {order.format}, but the files are {found}.")
    return found


def _language(source: Source, order: BuildSpec) -> ModelKind | None:
    """Never by itself: the image was chosen before anybody saw the files, and each engine's is another.
    An ONNX export beside the weights is no reason against it."""
    weights = any(name.endswith(".safetensors") for name in source.files)
    if order.format not in ENGINES or not weights:
        return None
    if not order.on_gpu:
        raise unsupported(
            f"{ENGINES[order.format]} is served on GPUs only; set spec.accelerator.type to GPU."
        )
    return ModelKind(order.format)


def onnx_file(source: Source) -> str | None:
    """The one ONNX model among the files; `model.onnx` wins over others beside it."""
    models = [name for name in source.files if name.endswith(".onnx")]
    for favourite in ("model.onnx", "onnx/model.onnx"):
        if favourite in models:
            return favourite
    top = [name for name in models if "/" not in name]
    if len(top) > 1:
        raise unsupported(
            f"There are {len(top)} ONNX files ({', '.join(top[:3])} …); name the one to serve in spec.model.uri."
        )
    return top[0] if top else None


def _find(source: Source) -> ModelKind | None:
    if source.is_file:
        name = source.files[0]
        if is_pickle(source.path):
            return None
        if name.endswith(".onnx"):
            return ModelKind.ONNX
        return ModelKind.TENSORRT if name.endswith(PLANS) else None
    if source.has("config.pbtxt") and any(name.endswith("model.py") for name in source.files):
        return ModelKind.PYTHON
    if onnx_file(source) is not None:
        return ModelKind.ONNX
    if any(name.endswith(".safetensors") for name in source.files if "/" not in name):
        return ModelKind.SAFETENSORS
    if any(name.endswith(PLANS) for name in source.files if "/" not in name):
        return ModelKind.TENSORRT
    if any(name in {"model.py", "1/model.py"} for name in source.files):
        return ModelKind.PYTHON
    if not source.has("config.pbtxt") and any(CONFIGURED.fullmatch(n) for n in source.files):
        return ModelKind.REPOSITORY
    return None


def _unknown(source: Source, order: BuildSpec) -> Refusal:
    for name in source.files:
        suffix = Path(name).suffix
        pickled = (
            suffix in PICKLES or name.endswith("pytorch_model.bin") or is_pickle(source.at(name))
        )
        if pickled and order.trust != "Code":
            return Refusal(
                RefusalReason.CODE_NOT_TRUSTED,
                f"{name} is a pickle, which can run code when it is loaded; save the model as safetensors or ONNX.",
            )
        if pickled:
            return unsupported(
                f"{name} is a pickle, which this image cannot load; save it as safetensors or ONNX."
            )
        if suffix in OTHERS:
            return unsupported(
                f"{name}: {OTHERS[suffix]} are not served by this image; save the model as ONNX."
            )
    names = ", ".join(source.files[:4]) + (" …" if len(source.files) > 4 else "")
    return unsupported(
        f"No model was recognised in: {names}; model.onnx or model.safetensors is expected."
    )


def is_pickle(path: Path) -> bool:
    """Pickle protocols 2 to 5, bare or inside the zip that torch.save writes."""
    with path.open("rb") as file:
        head = file.read(4096)
    if head[:1] == b"\x80" and head[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"}:
        return True
    return head[:4] == b"PK\x03\x04" and b"data.pkl" in head
