"""What does Triton find under /models?

One directory per model, written aside and renamed, so that a half-written one is never served.
On a CPU one python-backend model does all; on a GPU the graph is a model of its own for NVIDIA's
ONNX Runtime backend, or its TensorRT backend where an engine was built of it: `<name>-graph`, called by
the one in front.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from preamar_model.files import onnx_file
from preamar_model.files import pbtxt
from preamar_model.build import warm
from preamar_model.engine import metadata
from preamar_model.order import BuildSpec
from preamar_model.files.pbtxt import EnumWord
from preamar_model.files.tensors import Signature

VERSION = "1"
ASIDE = ".building"
MODEL_PY = """# The code is the image's: this file only says which. Triton's Python process ignores PYTHONPATH.
import os
import sys

sys.path.extend(p for p in os.environ["PREAMAR_PYTHONPATH"].split(os.pathsep) if p not in sys.path)

from preamar_model.backends.{task} import TritonPythonModel  # noqa: E402

__all__ = ["TritonPythonModel"]
"""


@dataclass(slots=True)
class Repository:
    root: Path
    order: BuildSpec
    plan: Path | None = None
    """The engine that was built of the model's graph, for this pod's GPU."""
    finished: list[str] = field(default_factory=list)

    def begin(self) -> None:
        """Remove what an earlier attempt left; the volume is this pod's own."""
        self.root.mkdir(parents=True, exist_ok=True)
        for entry in self.root.iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()

    def folder(self, name: str) -> Path:
        path = self.root / ASIDE / name / VERSION
        path.mkdir(parents=True, exist_ok=True)
        return path

    def graph_folder(self) -> Path:
        """Where model.onnx goes. A graph of several files is a directory to the ONNX Runtime backend."""
        if not self.order.on_gpu:
            return self.folder(self.order.name)
        if self.plan:  # the graph is looked at and not served
            path = self.root / ASIDE / "graph"
            path.mkdir(parents=True, exist_ok=True)
            return path
        path = self.folder(graph_name(self.order)) / onnx_file.MODEL
        path.mkdir(exist_ok=True)
        return path

    def front(
        self, task: str, tensors: Mapping[str, object], parameters: Mapping[str, str], batch: int
    ) -> None:
        """The model which callers name, in Python."""
        order = self.order
        told = {"task": order.task, "threads_over": str(order.instances), **parameters}
        if order.on_gpu and "engine" not in told:
            told["graph"] = graph_name(order)
        if order.stages > 1:
            told["stages"] = str(order.stages)
        config = {
            "name": order.name,
            "backend": "python",
            "max_batch_size": batch,
            **tensors,
            "instance_group": {"count": order.instances, "kind": EnumWord("KIND_CPU")},
            **(batching(order) if batch else {}),
            "parameters": [
                {"key": k, "value": {"string_value": v}} for k, v in sorted(told.items())
            ],
        }
        code = MODEL_PY.format(task=task)
        (self.folder(order.name) / "model.py").write_text(code)
        self.write(order.name, config)

    def graph(
        self,
        signature: Signature,
        name: str,
        batch: int,
        parameters: Mapping[str, str],
        longest: int = 0,
    ) -> None:
        """A model for NVIDIA's ONNX Runtime backend on a GPU, or for its TensorRT backend. Texts have
        `longest` tokens at most."""
        if self.plan:
            shutil.copyfile(self.plan, self.folder(name) / metadata.PLAN)
        config = {
            "name": name,
            "backend": "tensorrt" if self.plan else "onnxruntime",
            "default_model_filename": metadata.PLAN if self.plan else onnx_file.MODEL,
            "max_batch_size": batch,
            "input": [tensor.field(batch > 0) for tensor in signature.inputs],
            "output": [tensor.field(batch > 0) for tensor in signature.outputs],
            "instance_group": {"count": self.order.instances, "kind": EnumWord("KIND_GPU")},
            **(batching(self.order) if batch else {}),
            "parameters": [
                {"key": k, "value": {"string_value": v}} for k, v in sorted(parameters.items())
            ],
        }
        # An engine takes what it was built for, which is all of these: the batch was compared.
        folder = self.folder(name).parent
        config["model_warmup"] = warm.calls(self.order, signature, batch, longest, folder)
        self.write(name, config)

    def finish(self) -> None:
        """Put everything in its place, the model which callers name last."""
        for name in sorted(self.finished, key=lambda n: n == self.order.name):
            (self.root / ASIDE / name).rename(self.root / name)
        shutil.rmtree(self.root / ASIDE)

    def write(self, name: str, config: Mapping[str, object]) -> None:
        """A configuration beside what is in the model's folder already."""
        (self.folder(name).parent / "config.pbtxt").write_text(pbtxt.text(config))
        self.finished.append(name)


def graph_name(order: BuildSpec) -> str:
    return order.name if order.task == "Infer" else f"{order.name}-graph"


def batching(order: BuildSpec) -> Mapping[str, object]:
    # Queue sizes, timeouts and priorities here can stall half a second a batch; they live in the gateway.
    delay = order.max_delay_microseconds
    return {"dynamic_batching": {"max_queue_delay_microseconds": delay} if delay > 0 else {}}
