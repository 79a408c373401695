"""How does a model keep its own tensors? Inputs of joined requests are concatenated along the
batch, run once in ONNX Runtime, and the outputs cut apart again. Text travels as UTF-8.
"""

import numpy as np
import triton_python_backend_utils as utils

from preamar_model.backends import answers
from preamar_model.backends.runtime import graph, opened

FLOATS = {"TYPE_FP16", "TYPE_FP32", "TYPE_FP64"}


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        config, parameters, folder = opened(args)
        self.batched = int(config["max_batch_size"]) > 0
        self.inputs = [i["name"] for i in config["input"]]
        self.kinds = {o["name"]: o["data_type"] for o in config["output"]}
        self.graph = graph(parameters, folder)
        self.warm(config["input"])

    def warm(self, inputs: list[dict]) -> None:
        """One call of zeros where all sizes are known: the first is slow. What comes of it says
        nothing of what callers will send. Floats alone: an integer that a model divides by would
        end the process."""
        sizes = [[1] * self.batched + [int(n) for n in each["dims"]] for each in inputs]
        kinds = [each["data_type"] for each in inputs]
        if any(n < 1 for size in sizes for n in size) or set(kinds) - FLOATS:
            return
        feed = {}
        for each, size in zip(inputs, sizes, strict=True):
            bare = not self.graph.inputs[each["name"]].shape
            zeros = np.zeros([] if bare else size, utils.triton_string_to_numpy(each["data_type"]))
            feed[each["name"]] = zeros
        try:
            self.graph.plain(sorted(self.kinds), feed)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's have no common base
            utils.Logger.log_info(f"a call of zeros to warm the model failed: {error}")

    def execute(self, requests: list) -> list:
        if self.batched:
            return answers.together(requests, self.answer)
        return [answers.together([request], self.answer)[0] for request in requests]

    def answer(self, requests: list) -> list:
        parts = [self.read(request) for request in requests]
        joined = (
            {name: np.concatenate([part[name] for part in parts]) for name in self.inputs}
            if len(parts) > 1
            else parts[0]
        )
        names = sorted({name for request in requests for name in request.requested_output_names()})
        given = self.graph.plain(names, joined)
        values = {name: self.written(name, value) for name, value in zip(names, given, strict=True)}
        if len(requests) == 1:
            return [self.response(requests[0], values)]
        sizes = [len(part[self.inputs[0]]) for part in parts]
        if any(len(value) != sum(sizes) for value in values.values()):
            raise RuntimeError("the model gave another number of rows than it was asked for")
        ends = np.cumsum(sizes)
        return [
            self.response(
                request, {name: value[end - size : end] for name, value in values.items()}
            )
            for request, size, end in zip(requests, sizes, ends, strict=True)
        ]

    def read(self, request: object) -> dict[str, np.ndarray]:
        return {
            name: self.readable(name, utils.get_input_tensor_by_name(request, name))
            for name in self.inputs
        }

    def readable(self, name: str, tensor: object) -> np.ndarray:
        array = tensor.as_numpy()
        if not self.graph.inputs[name].shape:  # callers see [1], the model has no dimension
            array = array.reshape(())
        if array.dtype != np.object_:
            return array
        try:
            flat = [item.decode() for item in array.reshape(-1)]
        except UnicodeDecodeError as error:
            raise answers.Invalid(f"{name} is not UTF-8: {error}.") from error
        return np.array(flat, dtype=np.object_).reshape(array.shape)

    def written(self, name: str, value: np.ndarray) -> np.ndarray:
        array = np.asarray(value)
        if self.kinds[name] != "TYPE_STRING":
            return array
        flat = [str(item).encode() for item in array.reshape(-1)]
        return np.array(flat, dtype=np.object_).reshape(array.shape)

    def response(self, request: object, values: dict[str, np.ndarray]) -> object:
        wanted = request.requested_output_names()
        return utils.InferenceResponse(
            [
                utils.Tensor(name, np.ascontiguousarray(value).reshape(value.shape or (1,)))
                for name, value in values.items()
                if name in wanted
            ]
        )
