"""Engines built as a Job would, by the real TensorRT on a GPU that is made up."""

from pathlib import Path

import networks
import pytest
from preamar_model.engine import device, workshop
from preamar_model.engine.workshop import Workshop
from preamar_model.optimize import command, measure
from preamar_model.passes.session import Session

L4 = device.Gpu("NVIDIA-L4", "8.9", "13.0")
T4 = device.Gpu("Tesla-T4", "7.5", "13.0")


class Bench(Workshop):
    """Builds with the real TensorRT; since nothing here runs the engine, ONNX Runtime answers for it
    from the graph that it was built from."""

    gpu_here = L4

    def opened(self):
        return None

    def looked(self):
        return self.gpu_here

    def session(self, builder, plan, graph):
        assert plan
        return Session(str(graph), as_written=True)


def open_bench(trt: object, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(workshop, "package", lambda: trt)
    patch.setattr(command, "Workshop", Bench)
    patch.setattr(measure, "SECONDS", 0.02)
    patch.setattr(measure.compare, "__defaults__", (0.02,))


def order(folder: Path, **more: object) -> dict:
    source = folder / "source.onnx"
    networks.layered(source)
    return {
        "name": "m", "source": str(source), "target": str(folder / "out/m"), "accelerator": "GPU",
        "engine": "TensorRT", "precision": "INT8", "tolerance": "0.1",
    } | more  # fmt: skip
