"""How does text become an embedding? Tokenise (cut at the model's limit), pad to the longest of
the batch, run the graph. INPUT_TOKENS counts what the model read, its own marks included.
"""

import numpy as np
import triton_python_backend_utils as utils
from tokenizers import Tokenizer

from preamar_model.backends import answers
from preamar_model.backends.counters import Counters
from preamar_model.backends.invalid import Invalid
from preamar_model.backends.runtime import TritonGraph, graph, opened


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        config, parameters, folder = opened(args)
        self.pad = int(parameters["pad_token"])
        self.most = max(1, int(config["max_batch_size"]))
        self.counters = Counters(args)
        self.tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
        self.tokenizer.enable_truncation(int(parameters["max_context"]))
        self.graph = graph(parameters, folder)
        self.names = set(parameters.get("graph_inputs", "").split(","))
        self.output = parameters.get("graph_output", "")
        if not isinstance(self.graph, TritonGraph):
            self.names, self.output = set(self.graph.inputs), self.graph.outputs[0]
            self.embed(["ready"])  # a model that cannot answer must not become ready

    def execute(self, requests: list) -> list:
        return answers.together(requests, self.answer)

    def answer(self, requests: list) -> list:
        rows = [
            utils.get_input_tensor_by_name(request, "TEXT").as_numpy().reshape(-1)
            for request in requests
        ]
        try:
            texts = [text.decode() for row in rows for text in row]
        except UnicodeDecodeError as error:
            raise Invalid(f"TEXT is not UTF-8: {error}.") from error
        vectors, counts = self.embed(texts)
        self.counters.add(int(counts.sum()))
        responses, at = [], 0
        for row in rows:
            mine = slice(at, at + len(row))
            at += len(row)
            responses.append(
                utils.InferenceResponse(
                    [
                        utils.Tensor("EMBEDDING", vectors[mine]),
                        utils.Tensor("INPUT_TOKENS", counts[mine]),
                    ]
                )
            )
        return responses

    def embed(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Vectors [n, d] float32 and token counts [n, 1] int32."""
        encoded = [item.ids for item in self.tokenizer.encode_batch(texts)]
        counts = np.array([[len(ids)] for ids in encoded], np.int32)
        longest = max(1, int(counts.max()))
        ids = np.full((len(texts), longest), self.pad, np.int64)
        mask = np.zeros((len(texts), longest), np.int64)
        for row, tokens in enumerate(encoded):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        given = self.graph.run({k: v for k, v in feed.items() if k in self.names}, [self.output])
        vectors = np.ascontiguousarray(self.graph.array(given[self.output]), dtype=np.float32)
        if not np.isfinite(vectors).all():
            raise RuntimeError("the model gave a vector with NaN or infinity")
        return vectors, counts
