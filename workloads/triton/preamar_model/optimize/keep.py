"""Which layers must stay as they were, so that the error is within the tolerance?

The fewest, taken in order of the error that each causes alone. That order is measured: one model
per layer, in which only that layer is changed. Layers that the time does not suffice for come last,
for those that were measured are the likelier to help. How many are kept is found by halving, so that a hundred layers take seven tries.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx

Apply = Callable[[frozenset[str]], onnx.ModelProto]
Judge = Callable[[onnx.ModelProto], float]
Only = Callable[[onnx.ModelProto, str], onnx.ModelProto]
MARGIN = 0.8
"""The share of the tolerance that the choice may use up: other inputs are a little worse."""


@dataclass(frozen=True, slots=True)
class KeptLayers:
    model: onnx.ModelProto
    kept: tuple[str, ...]
    error: float
    """On the samples that the choice was made with."""


@dataclass(frozen=True, slots=True)
class NotFound:
    error: float
    """The least that was seen with at least one layer changed."""


def search(
    apply: Apply,
    judge: Judge,
    layers: Sequence[str],
    tolerance: float,
    left: Callable[[], float],
    only: Only | None = None,
) -> KeptLayers | NotFound:
    """``layers`` in the graph's order; ``left`` says how many seconds may still be used; ``only``
    cuts the model with one layer changed out of that with all, faster than ``apply`` makes it."""
    allowed = tolerance * MARGIN
    model = apply(frozenset())
    error = judge(model)
    if error <= allowed:
        return KeptLayers(model, (), error)
    whole, every = model, frozenset(layers)

    def single(name: str) -> onnx.ModelProto:
        return only(whole, name) if only else apply(every - {name})

    ranked, alone = _ranked(single, judge, layers, left)
    least = min(error, alone)
    low, high, best = 1, len(layers) - 1, None
    while low <= high and (left() > 0 or best is None):
        # The first try keeps all but one: if that is too much, so is every other.
        count = high if best is None else (low + high) // 2
        kept = ranked[:count]
        model = apply(frozenset(kept))
        error = judge(model)
        least = min(least, error)
        if error <= allowed:
            best = KeptLayers(model, tuple(name for name in layers if name in set(kept)), error)
            high = count - 1
        elif best is None:
            break
        else:
            low = count + 1
    return best or NotFound(least)


def _ranked(
    single: Callable[[str], onnx.ModelProto],
    judge: Judge,
    layers: Sequence[str],
    left: Callable[[], float],
) -> tuple[list[str], float]:
    """Worst first, and the least error that a layer alone causes."""
    causes: dict[str, float] = {}
    until = left() / 2  # the other half is for the tries
    for name in layers:
        if left() < until:
            break
        causes[name] = judge(single(name))
    unknown = [name for name in layers if name not in causes]
    known = sorted(causes, key=lambda name: causes[name], reverse=True)
    return [*known, *unknown], min(causes.values(), default=float("inf"))
