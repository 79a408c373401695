"""How does a BERT-style encoder become an ONNX graph, without torch?

From the published formula: embeddings summed and normalised; in each layer attention over the
tokens that the mask keeps, then a feed-forward of two layers, each with a residual and a
LayerNorm. Float32 throughout. Padding changes no embedding (tests/workloads/triton).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from preamar_model.files.graph import OPSET, Graph
from preamar_model.files.pooling import PoolingHead, Pooling
from preamar_model.refusal import invalid, unsupported
from preamar_model.files.weights import Weight

SHIFTED = {"roberta", "xlm-roberta", "camembert"}
"""Families whose first position is pad_token_id + 1."""
FAMILIES = {"bert", *SHIFTED}
ACTIVATIONS = {"gelu", "gelu_new", "gelu_pytorch_tanh", "relu"}


@dataclass(frozen=True, slots=True)
class EncoderShape:
    hidden: int
    layers: int
    heads: int
    positions: int
    """Tokens at most."""
    offset: int
    epsilon: float
    activation: str


def shape(config: Mapping) -> EncoderShape:
    """Raises `Refusal` when config.json is of another family or contradicts itself."""
    family = config.get("model_type")
    if family not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise unsupported(
            f"config.json says model_type {family!r}; encoders of {known} are converted, others need ONNX."
        )
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise unsupported("Only absolute position embeddings are converted.")
    activation = config.get("hidden_act", "gelu")
    if activation not in ACTIVATIONS:
        raise unsupported(
            f"The activation {activation!r} is not converted; {', '.join(sorted(ACTIVATIONS))} are."
        )
    offset = int(config.get("pad_token_id") or 0) + 1 if family in SHIFTED else 0
    try:
        result = EncoderShape(
            hidden=int(config["hidden_size"]),
            layers=int(config["num_hidden_layers"]),
            heads=int(config["num_attention_heads"]),
            positions=int(config["max_position_embeddings"]) - offset,
            offset=offset,
            epsilon=float(config.get("layer_norm_eps", 1e-12)),
            activation=activation,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise invalid(f"config.json misses or garbles {error}.") from error
    if min(result.hidden, result.heads, result.positions) < 1 or result.hidden % result.heads:
        raise invalid("config.json: hidden_size must be a multiple of num_attention_heads.")
    return result


class Encoder:
    def __init__(self, folder: Path, form: EncoderShape, weights: Mapping[str, Weight]) -> None:
        self.graph = Graph(folder)
        self.form = form
        self.weights = weights
        self.prefix = next(
            (
                p
                for p in ("", "bert.", "roberta.")
                if f"{p}embeddings.word_embeddings.weight" in weights
            ),
            None,
        )
        if self.prefix is None:
            raise invalid(
                "The safetensors file holds no embeddings.word_embeddings.weight; it is not a BERT-style encoder."
            )

    def write(self, pooling: Pooling) -> int:
        """Write the model to the folder; the number of dimensions of its embeddings."""
        mask = self._mask()
        state = self._embeddings()
        for layer in range(self.form.layers):
            state = self._layer(f"encoder.layer.{layer}.", state, mask)
        PoolingHead(self.graph, OPSET).write(state, "attention_mask", pooling, "embedding")
        width = self.form.hidden * len(pooling.modes)
        ids, kept = (
            helper.make_tensor_value_info(name, onnx.TensorProto.INT64, ["batch", "tokens"])
            for name in ("input_ids", "attention_mask")
        )
        out = helper.make_tensor_value_info("embedding", onnx.TensorProto.FLOAT, ["batch", width])
        self.graph.save([ids, kept], [out])
        return width

    def _take(self, name: str, *expected: int | None) -> np.ndarray:
        weight = self.weights.get(f"{self.prefix}{name}")
        if weight is None:
            raise invalid(
                f"The safetensors file holds no {self.prefix}{name}, which config.json promises."
            )
        fits = len(weight.shape) == len(expected) and all(
            e is None or e == n for e, n in zip(expected, weight.shape, strict=True)
        )
        if not fits:
            raise invalid(
                f"{name} has shape {list(weight.shape)}, config.json promises {list(expected)}."
            )
        return weight.float32()

    def _mask(self) -> str:
        """0 where a token is kept, -1e9 where it is padding: [b,1,1,t]."""
        g = self.graph
        kept = g.add(
            "Unsqueeze", g.add("Cast", "attention_mask", to=onnx.TensorProto.FLOAT), g.small([1, 2])
        )
        return g.add("Mul", g.add("Sub", g.small(1.0, np.float32), kept), g.small(-1e9, np.float32))

    def _embeddings(self) -> str:
        g, form = self.graph, self.form
        words = g.weight(
            "words", self._take("embeddings.word_embeddings.weight", None, form.hidden)
        )
        places = self._take("embeddings.position_embeddings.weight", None, form.hidden)
        # Every token is of the first segment, so its vector belongs to the positions.
        first = self._take("embeddings.token_type_embeddings.weight", None, form.hidden)[0]
        if len(places) < form.offset + form.positions:
            raise invalid(
                "The position embeddings are fewer than config.json's max_position_embeddings."
            )
        table = g.weight("positions", places[form.offset :] + first)
        length = g.add("Gather", g.add("Shape", "input_ids"), g.small(1))
        indices = g.add("Range", g.small(0), length, g.small(1))
        summed = g.add("Add", g.add("Gather", words, "input_ids"), g.add("Gather", table, indices))
        return self._norm("embeddings.LayerNorm", summed)

    def _layer(self, at: str, state: str, mask: str) -> str:
        g, form = self.graph, self.form
        width = form.hidden // form.heads
        scale = width**-0.5
        split = g.small([0, 0, form.heads, width])

        def heads(name: str, order: list[int], factor: float = 1.0) -> str:
            flat = self._dense(
                f"{at}attention.self.{name}", state, form.hidden, form.hidden, factor
            )
            return g.add("Transpose", g.add("Reshape", flat, split), perm=order)

        query = heads("query", [0, 2, 1, 3], scale)
        scores = g.add("Add", g.add("MatMul", query, heads("key", [0, 2, 3, 1])), mask)
        mixed = g.add("MatMul", g.add("Softmax", scores, axis=-1), heads("value", [0, 2, 1, 3]))
        joined = g.add(
            "Reshape", g.add("Transpose", mixed, perm=[0, 2, 1, 3]), g.small([0, 0, form.hidden])
        )
        attended = self._dense(f"{at}attention.output.dense", joined, form.hidden, form.hidden)
        state = self._norm(f"{at}attention.output.LayerNorm", g.add("Add", attended, state))
        inner = self._activation(self._dense(f"{at}intermediate.dense", state, None, form.hidden))
        outer = self._dense(f"{at}output.dense", inner, form.hidden, None)
        return self._norm(f"{at}output.LayerNorm", g.add("Add", outer, state))

    def _dense(
        self, name: str, state: str, out: int | None, into: int | None, factor: float = 1.0
    ) -> str:
        g = self.graph
        weight = self._take(f"{name}.weight", out, into)
        bias = self._take(f"{name}.bias", weight.shape[0])
        # Named as in the checkpoint: layers that optimisation keeps are told of by this name.
        scaled = g.weight("w", weight.T * np.float32(factor))
        product = g.add("MatMul", state, scaled, output=f"{name}.product")
        return g.add("Add", product, g.weight("b", bias * np.float32(factor)))

    def _norm(self, name: str, state: str) -> str:
        # Files converted from TensorFlow call weight and bias gamma and beta.
        old = f"{self.prefix}{name}.gamma" in self.weights
        scale, shift = ("gamma", "beta") if old else ("weight", "bias")
        g, hidden = self.graph, self.form.hidden
        scales = g.weight("scale", self._take(f"{name}.{scale}", hidden))
        shifts = g.weight("shift", self._take(f"{name}.{shift}", hidden))
        return g.add(
            "LayerNormalization", state, scales, shifts, axis=-1, epsilon=self.form.epsilon
        )

    def _activation(self, state: str) -> str:
        g = self.graph
        if self.form.activation == "relu":
            return g.add("Relu", state)
        half = g.add("Mul", state, g.small(0.5, np.float32))
        if self.form.activation == "gelu":
            bent = g.add("Erf", g.add("Div", state, g.small(np.sqrt(2.0), np.float32)))
        else:
            cube = g.add(
                "Mul", g.add("Pow", state, g.small(3.0, np.float32)), g.small(0.044715, np.float32)
            )
            inner = g.add(
                "Mul", g.add("Add", state, cube), g.small(np.sqrt(2.0 / np.pi), np.float32)
            )
            bent = g.add("Tanh", inner)
        return g.add("Mul", half, g.add("Add", bent, g.small(1.0, np.float32)))
