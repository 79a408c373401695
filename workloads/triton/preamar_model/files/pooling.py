"""How does one vector come of many tokens? As the model's sentence-transformers files say: pool
(cls, mean, max, mean over √length), join, then perhaps scale to length one.

Models without such files are averaged over their tokens and not scaled.
"""

import json
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import onnx

from preamar_model.files.source import Source
from preamar_model.refusal import invalid, unsupported

MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
}
OTHER_MODES = ("pooling_mode_weightedmean_tokens", "pooling_mode_lasttoken")


@dataclass(frozen=True, slots=True)
class Pooling:
    modes: tuple[str, ...] = ("mean",)
    normalize: bool = False


def read(source: Source) -> Pooling:
    """Raises `Refusal` for a head that this builder does not write."""
    if not source.has("modules.json"):
        return Pooling()
    modes, normalize = ("mean",), False
    try:
        modules = [
            (str(m["type"]).rsplit(".", 1)[-1], str(m["path"]))
            for m in json_at(source, "modules.json")
        ]
    except (TypeError, KeyError) as error:
        raise invalid(f"modules.json is not a list of modules: {error}.") from error
    for kind, path in modules:
        if kind == "Pooling":
            modes = _modes(json_at(source, str(PurePosixPath(path) / "config.json")))
        elif kind == "Normalize":
            normalize = True
        elif kind != "Transformer":
            raise unsupported(f"modules.json asks for a {kind} layer, which is not supported.")
    return Pooling(modes, normalize)


def _modes(config: dict) -> tuple[str, ...]:
    if asked := [name for name in OTHER_MODES if config.get(name)]:
        raise unsupported(f"The pooling {asked[0]} is not supported.")
    named = config.get("pooling_mode")  # newer files give one word
    if isinstance(named, str):
        if named not in MODES.values():
            raise unsupported(f"The pooling {named} is not supported.")
        return (named,)
    return tuple(mode for name, mode in MODES.items() if config.get(name)) or ("mean",)


def json_at(source: Source, name: str) -> dict | list:
    if not source.has(name):
        raise invalid(f"{name} is missing.")
    try:
        return json.loads(source.at(name).read_text())
    except (ValueError, UnicodeDecodeError) as error:
        raise invalid(f"{name} is not JSON: {error}.") from error


class PoolingHead:
    """Adds the pooling nodes to any graph of opset 13 or later; `graph` has `add` and `small`."""

    def __init__(self, graph: object, opset: int) -> None:
        self.graph = graph
        self.opset = opset

    def write(self, hidden: str, mask: str, pooling: Pooling, output: str) -> None:
        """From hidden [b,t,h] float32 and mask [b,t] int64 to output [b, modes * h]."""
        add, small = self.graph.add, self.graph.small
        weight = add("Unsqueeze", add("Cast", mask, to=onnx.TensorProto.FLOAT), small([2]))
        parts = [self._pooled(mode, hidden, weight) for mode in pooling.modes]
        vector = parts[0] if len(parts) == 1 else add("Concat", *parts, axis=-1)
        if pooling.normalize:
            square = add("ReduceSum", add("Mul", vector, vector), small([1]), keepdims=1)
            length = add("Max", add("Sqrt", square), small(1e-12, np.float32))
            vector = add("Div", vector, length)
        add("Identity", vector, output=output)

    def _pooled(self, mode: str, hidden: str, weight: str) -> str:
        add, small = self.graph.add, self.graph.small
        if mode == "cls":
            return add("Gather", hidden, small(0), axis=1)
        if mode == "max":
            seen = add(
                "Where",
                add("Cast", weight, to=onnx.TensorProto.BOOL),
                hidden,
                small(-1e9, np.float32),
            )
            if self.opset >= 18:
                return add("ReduceMax", seen, small([1]), keepdims=0)
            return add("ReduceMax", seen, axes=[1], keepdims=0)
        total = add("ReduceSum", add("Mul", hidden, weight), small([1]), keepdims=0)
        count = add(
            "Max", add("ReduceSum", weight, small([1]), keepdims=0), small(1e-9, np.float32)
        )
        return add("Div", total, count if mode == "mean" else add("Sqrt", count))
