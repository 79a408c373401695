"""How is an ONNX graph written down? Nodes by name, weights streamed to a file beside it, so that
memory holds one weight at a time and no model meets protobuf's limit of 2 GB.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from preamar_model.files.onnx_file import DATA, MODEL

OPSET = 17
ALIGN = 4096


class Graph:
    """Collects nodes; each `add` returns the name of its output."""

    def __init__(self, folder: Path) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[TensorProto] = []
        self._folder = folder
        self._file = (folder / DATA).open("wb")
        self._names = 0

    def name(self, hint: str) -> str:
        self._names += 1
        return f"{hint}_{self._names}"

    def add(self, op: str, *inputs: str, output: str | None = None, **attributes: object) -> str:
        result = output or self.name(op.lower())
        self.nodes.append(
            helper.make_node(op, list(inputs), [result], name=f"{op}_{result}", **attributes)
        )
        return result

    def small(self, value: object, kind: type = np.int64) -> str:
        """A constant of a few numbers, kept inside the graph."""
        array = np.asarray(value, dtype=kind)
        tensor = onnx.numpy_helper.from_array(array, self.name("constant"))
        self.initializers.append(tensor)
        return str(tensor.name)

    def weight(self, hint: str, value: np.ndarray) -> str:
        """A float32 weight, written to the data file at once."""
        array = np.ascontiguousarray(value, dtype="<f4")
        self._file.write(b"\0" * (-self._file.tell() % ALIGN))
        offset = self._file.tell()
        array.tofile(self._file)
        tensor = TensorProto(name=self.name(hint), data_type=TensorProto.FLOAT, dims=array.shape)
        tensor.data_location = TensorProto.EXTERNAL
        for key, told in (("location", DATA), ("offset", offset), ("length", array.nbytes)):
            tensor.external_data.add(key=key, value=str(told))
        self.initializers.append(tensor)
        return str(tensor.name)

    def save(self, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]) -> Path:
        self._file.close()
        graph = helper.make_graph(self.nodes, "encoder", inputs, outputs, self.initializers)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8
        )
        path = self._folder / MODEL
        path.write_bytes(model.SerializeToString())
        return path
