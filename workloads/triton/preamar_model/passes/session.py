"""What does a graph answer? ONNX Runtime on one thread, so that figures compare."""

from collections.abc import Iterable, Mapping

import numpy as np
import onnx

Feed = Mapping[str, np.ndarray]


class Session:
    def __init__(self, model: onnx.ModelProto | str, *, as_written: bool = False) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        if as_written:
            # Where both inputs of a product are signed, or FP8, the fused kernels for CPUs give other
            # numbers than the graph says (seen in 1.32: 0.3 where 0.01 is right).
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        self.inner = onnxruntime.InferenceSession(
            model if isinstance(model, str) else model.SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
        )
        self.names = [value.name for value in self.inner.get_outputs()]

    def __call__(self, feed: Feed, outputs: Iterable[str] | None = None) -> dict[str, np.ndarray]:
        names = list(outputs or self.names)
        return dict(zip(names, self.inner.run(names, dict(feed)), strict=True))
