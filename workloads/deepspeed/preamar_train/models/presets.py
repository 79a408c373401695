"""Which shape a built-in model has, and how fast it learns.

A preset is a row of numbers; `model.parameters` overrides any of them by the names below.
Impossible numbers are refused here, in words, before torch meets them.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from preamar_train.request import bad


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A Llama-shaped decoder; with `experts`, a Mixtral-shaped one, whose every token goes through
    `active_experts` of them. Field names in camelCase are the keys of `model.parameters`."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    intermediate: int
    sequence: int
    vocabulary: int
    experts: int = 0
    active_experts: int = 2
    balance: float = 0.02  # weight of the loss that spreads tokens over experts; Mixtral's
    tie_embeddings: bool = True
    rope_theta: float = 10_000.0
    norm_epsilon: float = 1e-5
    learning_rate: float = 3e-3
    weight_decay: float = 0.1
    warmup_steps: int = 20
    seed: int = 0

    @property
    def head_size(self) -> int:
        return self.hidden // self.heads

    def parameters(self) -> int:
        """Number of weights."""
        attention = 2 * self.hidden * self.hidden + 2 * self.hidden * self.kv_heads * self.head_size
        network = 3 * self.hidden * self.intermediate
        if self.experts:
            network = self.experts * (network + self.hidden)  # and a row of the router each
        layer = attention + network + 2 * self.hidden
        tables = self.vocabulary * self.hidden * (1 if self.tie_embeddings else 2)
        return self.layers * layer + tables + self.hidden


PRESETS: Mapping[str, ModelShape] = {
    "gpt-tiny": ModelShape(
        layers=4, hidden=128, heads=4, kv_heads=2, intermediate=352, sequence=128, vocabulary=2048
    ),
    "gpt-small": ModelShape(
        layers=8,
        hidden=512,
        heads=8,
        kv_heads=4,
        intermediate=1408,
        sequence=512,
        vocabulary=8192,
        learning_rate=1e-3,
        warmup_steps=100,
    ),
    "gpt-base": ModelShape(
        layers=12,
        hidden=768,
        heads=12,
        kv_heads=4,
        intermediate=2048,
        sequence=1024,
        vocabulary=32_768,
        learning_rate=6e-4,
        warmup_steps=200,
    ),
    "moe-tiny": ModelShape(
        layers=4,
        hidden=128,
        heads=4,
        kv_heads=2,
        intermediate=176,
        sequence=128,
        vocabulary=2048,
        experts=8,
    ),
    "moe-small": ModelShape(
        layers=8,
        hidden=512,
        heads=8,
        kv_heads=4,
        intermediate=704,
        sequence=512,
        vocabulary=8192,
        experts=8,
        learning_rate=1e-3,
        warmup_steps=100,
    ),
}

# Least and greatest value of each whole number.
_BOUNDS = {
    "layers": (1, 256),
    "hidden": (8, 65_536),
    "heads": (1, 512),
    "kv_heads": (1, 512),
    "intermediate": (8, 262_144),
    "sequence": (8, 1_048_576),
    "vocabulary": (512, 262_144),
    "experts": (0, 1024),
    "active_experts": (1, 64),
    "warmup_steps": (0, 1_000_000),
    "seed": (0, 2**31 - 1),
}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


NAMES: Mapping[str, str] = {_camel(field.name): field.name for field in fields(ModelShape)}


def shape_of(preset: str, parameters: Mapping[str, Any]) -> ModelShape:
    """The preset with the user's changes, checked."""
    if preset not in PRESETS:
        raise bad(f"model.preset {preset!r} is not one of {', '.join(PRESETS)}")
    changes = {}
    for key, value in parameters.items():
        if key not in NAMES:
            raise bad(f"model.parameters.{key} is not one of {', '.join(NAMES)}")
        changes[NAMES[key]] = _value(key, value)
    return _possible(replace(PRESETS[preset], **changes))


def _value(key: str, value: Any) -> int | float | bool:
    name = NAMES[key]
    if name == "tie_embeddings":
        if not isinstance(value, bool):
            raise bad(f"model.parameters.{key} must be true or false")
        return value
    if name in _BOUNDS:
        least, most = _BOUNDS[name]
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise bad(f"model.parameters.{key} must be a whole number from {least} to {most}")
        return value
    try:  # rates and ratios come as decimal strings or numbers
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number) or number < 0:
        raise bad(f"model.parameters.{key} must be a number of at least 0, not {value!r}")
    if number == 0 and name not in {"weight_decay", "balance"}:
        raise bad(f"model.parameters.{key} must be above 0")
    return number


def _possible(shape: ModelShape) -> ModelShape:
    if shape.hidden % shape.heads:
        raise bad(f"hidden {shape.hidden} cannot be divided among {shape.heads} heads")
    if shape.head_size % 2:
        raise bad(
            f"a head of {shape.head_size} numbers cannot be rotated: hidden / heads must be even"
        )
    if shape.heads % shape.kv_heads:
        raise bad(f"{shape.heads} heads cannot share {shape.kv_heads} key-value heads evenly")
    if shape.experts and shape.active_experts > shape.experts:
        raise bad(f"a token cannot go through {shape.active_experts} of {shape.experts} experts")
    return shape


def describe(shape: ModelShape) -> dict[str, Any]:
    """The shape as JSON, for digests and logs."""
    words = asdict(shape)
    if not shape.experts:  # checkpoints of dense models were written before there were others
        for name in ("experts", "active_experts", "balance"):
            del words[name]
    return {_camel(name): value for name, value in words.items()}
