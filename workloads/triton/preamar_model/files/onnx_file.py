"""Is this ONNX file whole, and what does it need to run?

The graph is read without its weights; weights kept beside it must lie in the model's own
directory. Whether ONNX Runtime accepts it is tried in a process of its own, because a broken
graph can bring down whoever loads it.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

import onnx
from google.protobuf.message import DecodeError
from onnx.external_data_helper import uses_external_data

from preamar_model.files.source import Source
from preamar_model.refusal import invalid

MODEL = "model.onnx"
DATA = "model.weights"
TRIAL_SECONDS = 900


def load(source: Source, name: str) -> onnx.ModelProto:
    """The graph without external weights. Raises `Refusal` when it cannot be read."""
    path = source.at(name)
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise invalid(f"{name} is not an ONNX model: {error}.") from error
    if not model.graph.node or not model.graph.output:
        raise invalid(f"{name} is not an ONNX model: it holds no graph.")
    return model


def store(source: Source, name: str, model: onnx.ModelProto, folder: Path) -> Path:
    """Write the graph and copy the weights it keeps beside it."""
    beside = PurePosixPath(name).parent
    for tensor in model.graph.initializer:
        if not uses_external_data(tensor):
            continue
        location = next(
            (entry.value for entry in tensor.external_data if entry.key == "location"), ""
        )
        where = PurePosixPath(location)
        if not location or where.is_absolute() or ".." in where.parts:
            raise invalid(f"{name} keeps weights at {location!r}, outside its own directory.")
        target = folder / where
        if target.exists():
            continue
        origin = source.root / beside / where
        if not origin.is_file():
            raise invalid(f"{name} keeps weights in {location}, which is missing.")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(origin, target)
    path = folder / MODEL
    path.write_bytes(model.SerializeToString())
    return path


def attempt(path: Path) -> None:
    """Load the model once with ONNX Runtime. Raises `Refusal` with its words if that fails."""
    here = str(Path(__file__).resolve().parents[2])
    found = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-m", "preamar_model.build.trial", str(path)],
        env=os.environ | {"PYTHONPATH": found},
        check=False,
        capture_output=True,
        text=True,
        timeout=TRIAL_SECONDS,
    )
    if done.returncode == 0:
        return
    if done.returncode == -9:
        raise MemoryError(
            "checking the model was killed, most likely for memory; raise the memory limit"
        )
    if done.returncode < 0:
        raise invalid(
            f"The model ended its loader with signal {-done.returncode}; the file is broken."
        )
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    raise invalid(
        f"ONNX Runtime cannot load the model: {lines[-1] if lines else 'no reason given'}"
    )


def opset(model: onnx.ModelProto) -> int:
    return next(
        (entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), 1
    )
