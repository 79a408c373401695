"""What runs a graph: ONNX Runtime inside this process, or a Triton model of its own on a GPU.

Both take and give tensors by name. A value that only travels from one call to the next (a
key-value cache) stays what it is, on the device where it was made.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from preamar_model.backends import threads
from preamar_model.group.split import SplitGraph


class LocalGraph:
    """ONNX Runtime on the CPU."""

    def __init__(self, path: str, instances: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads.per_instance(instances)
        options.inter_op_num_threads = 1
        # Idle threads must not burn the CPU share that other pods and the server need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        self.inputs = {value.name: value for value in self.session.get_inputs()}
        self.outputs = [value.name for value in self.session.get_outputs()]
        self._wrap = onnxruntime.OrtValue.ortvalue_from_numpy

    def run(self, inputs: Mapping[str, object], outputs: Iterable[str]) -> dict[str, object]:
        names = list(outputs)
        feed = {k: self._wrap(v) if isinstance(v, np.ndarray) else v for k, v in inputs.items()}
        return dict(zip(names, self.session.run_with_ort_values(names, feed), strict=True))

    def plain(self, outputs: list[str], inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Arrays for arrays, text among them."""
        return self.session.run(outputs, dict(inputs))

    def array(self, value: object) -> np.ndarray:
        return value.numpy()


class TritonGraph:
    """Another model of this server, called from inside; its tensors may live on a GPU."""

    def __init__(self, name: str) -> None:
        import triton_python_backend_utils as utils

        self.name = name
        self.utils = utils

    def run(self, inputs: Mapping[str, object], outputs: Iterable[str]) -> dict[str, object]:
        utils, names = self.utils, list(outputs)
        feed = [
            utils.Tensor(k, v)
            if isinstance(v, np.ndarray)
            else utils.Tensor.from_dlpack(k, v.to_dlpack())
            for k, v in inputs.items()
        ]
        answer = utils.InferenceRequest(
            model_name=self.name, inputs=feed, requested_output_names=names
        ).exec()
        if answer.has_error():
            raise RuntimeError(answer.error().message())
        return {name: utils.get_output_tensor_by_name(answer, name) for name in names}

    def array(self, value: object) -> np.ndarray:
        if value.is_cpu():
            return value.as_numpy()
        raise RuntimeError(
            f"{value.name()} stayed on the GPU; the graph must give it in host memory"
        )


def graph(parameters: Mapping[str, str], folder: str) -> LocalGraph | TritonGraph | SplitGraph:
    if name := parameters.get("graph"):
        return TritonGraph(name)
    here = LocalGraph(f"{folder}/model.onnx", int(parameters.get("threads_over", "1")))
    return SplitGraph(folder, here) if parameters.get("stages") else here


def opened(args: Mapping[str, str]) -> tuple[dict, dict[str, str], str]:
    """The model's configuration, its parameters and its version's directory."""
    import json

    config = json.loads(args["model_config"])
    parameters = {
        name: value["string_value"] for name, value in config.get("parameters", {}).items()
    }
    return config, parameters, f"{args['model_repository']}/{args['model_version']}"
