"""Small ONNX models whose answers anyone can work out by hand."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def save(path: Path, nodes: list, inputs: list, outputs: list, weights: dict | None = None) -> Path:
    held = [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()]
    graph = helper.make_graph(nodes, "test", inputs, outputs, held)
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))
    return path


def value(name: str, kind: int, *dims: object) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, dims)


def batched(path: Path) -> Path:
    """y[n] = 2 x[n] + 1, rows of three."""
    nodes = [
        helper.make_node("Mul", ["x", "two"], ["m"]),
        helper.make_node("Add", ["m", "one"], ["y"]),
    ]
    weights = {"two": np.float32([2]), "one": np.float32([1])}
    return save(
        path,
        nodes,
        [value("x", TensorProto.FLOAT, "batch", 3)],
        [value("y", TensorProto.FLOAT, "batch", 3)],
        weights,
    )


def words(path: Path) -> Path:
    """Gives texts back, and whether each row's number is positive."""
    nodes = [
        helper.make_node("Identity", ["text"], ["same"]),
        helper.make_node("Greater", ["number", "zero"], ["positive"]),
    ]
    return save(
        path,
        nodes,
        [value("text", TensorProto.STRING, None, 2), value("number", TensorProto.INT64, None, 1)],
        [value("same", TensorProto.STRING, None, 2), value("positive", TensorProto.BOOL, None, 1)],
        {"zero": np.int64([0])},
    )


def picky(path: Path) -> Path:
    """The numbers of a table at x - 5, which is not in it where x is 0."""
    nodes = [
        helper.make_node("Sub", ["x", "five"], ["less"]),
        helper.make_node("Cast", ["less"], ["at"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "at"], ["y"]),
    ]
    io = [value(name, TensorProto.FLOAT, "batch", 1) for name in ("x", "y")]
    weights = {"five": np.float32([5]), "table": np.float32([10, 20, 30])}
    return save(path, nodes, io[:1], io[1:], weights)


def unbatched(path: Path) -> Path:
    """One number in, without dimensions, its square out; and a fixed row of doubles, doubled."""
    nodes = [
        helper.make_node("Mul", ["number", "number"], ["square"]),
        helper.make_node("Add", ["row", "row"], ["double"]),
    ]
    return save(
        path,
        nodes,
        [value("number", TensorProto.INT32), value("row", TensorProto.DOUBLE, 2)],
        [value("square", TensorProto.INT32), value("double", TensorProto.DOUBLE, 2)],
    )


def over_time(path: Path) -> Path:
    """Sums along its first, free dimension, which is time and no batch."""
    nodes = [helper.make_node("CumSum", ["x", "axis"], ["y"])]
    return save(
        path,
        nodes,
        [value("x", TensorProto.FLOAT, "sequence", 2)],
        [value("y", TensorProto.FLOAT, "sequence", 2)],
        {"axis": np.int64(0)},
    )
