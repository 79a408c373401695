"""What does the graph look like before anything is optimised? Weights inside, constants folded,
batch norms merged into convolutions, every node named, opset 13 or later.

ONNX Runtime folds at its basic level, whose result is plain ONNX: later fusions depend on the
machine, and the server makes them itself each time it loads the model.
"""

import tempfile
from pathlib import Path

import onnx
from onnx import version_converter

from preamar_model.files import onnx_file
from preamar_model.passes import gemm
from preamar_model.passes.optimize_spec import unable

OPSET = 17
OLDEST = 13
"""Integers with a scale for each channel, and bfloat16, came with this opset."""
MOST_BYTES = 1_900_000_000
"""One protobuf message ends at 2 GiB."""


def prepared(path: Path) -> onnx.ModelProto:
    """Raises `Refusal` for a graph that is too large, or too old to be carried over."""
    size = sum(file.stat().st_size for file in path.parent.rglob("*") if file.is_file())
    if size > MOST_BYTES:
        raise unable(
            f"The model has {size / 1e9:.1f} GB; models up to {MOST_BYTES / 1e9:.1f} GB are "
            "optimised on a CPU. Optimise it before you store it."
        )
    model = onnx.load(str(path))
    # Old exporters list weights as inputs too: a caller could then change them, so nothing folds.
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    if onnx_file.opset(model) < OLDEST:
        try:
            model = version_converter.convert_version(model, OPSET)
        except Exception as error:
            raise unable(
                f"The ONNX model uses opset {onnx_file.opset(model)} and cannot be carried over to "
                f"{OPSET} ({' '.join(str(error).split())[:200]}); export it with {OLDEST} or later."
            ) from error
    model = _folded(model)
    _name(model)
    return gemm.split(model)


def _folded(model: onnx.ModelProto) -> onnx.ModelProto:
    import onnxruntime

    with tempfile.TemporaryDirectory(prefix="preamar-") as folder:
        target = Path(folder, "folded.onnx")
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(target)
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        folded = onnx.load(str(target))
    # ONNX Runtime names every domain that it knows; only those which a node uses belong here.
    used = {node.domain for node in folded.graph.node} | {""}
    kept = [entry for entry in folded.opset_import if entry.domain in used]
    del folded.opset_import[:]
    folded.opset_import.extend(kept)
    return folded


def _name(model: onnx.ModelProto) -> None:
    """Layers are told of by name, and folding leaves some without one."""
    seen: set[str] = set()
    for number, node in enumerate(model.graph.node):
        if not node.name or node.name in seen:
            node.name = f"{node.op_type}_{number}"
        seen.add(node.name)
