"""How far apart are two answers to one question? 0 means the same.

The measure by which the optimiser judges held-out samples, on what callers get: of embeddings the worst
row's 1 - cosine; of other tensors the worst output's |a - b| / |a| in the Euclidean norm, and of what
holds no floats the share that differs. Texts that are sampled have none. Held to the optimiser's own
figures by tests/workloads/triton/optimize/test_answer_distance.py.
"""

from collections.abc import Mapping, Sequence
from math import dist, hypot, inf, isfinite
from operator import mul, ne
from typing import Any, NamedTuple

LEAST_LENGTH = 1e-30
EMBEDDING = "EMBEDDING"
TASKS = frozenset({"Embed", "Infer"})
"""What is asked of a model whose answers can be compared."""


class Tensor(NamedTuple):
    """``values`` row by row: floats where ``floats``, else anything that can be equal."""

    shape: tuple[int, ...]
    values: Sequence[Any]
    floats: bool


Answer = Mapping[str, Tensor]


def error(task: str, wanted: Answer, got: Answer) -> float:
    """From 0 on, infinity where an output is missing, has another shape or is no number. Raises
    ``ValueError`` for a task whose answers cannot be compared, or where nothing is ``wanted``."""
    if task not in TASKS:
        raise ValueError(f"answers of task {task} cannot be compared")
    if task == "Embed":
        wanted = {name: wanted[name] for name in wanted if name == EMBEDDING}
    if not wanted:
        raise ValueError("there is nothing to compare")
    measure = _angle if task == "Embed" else _relative
    found = [measure(value, got[name]) if name in got else inf for name, value in wanted.items()]
    return max(each if isfinite(each) else inf for each in found)


def _angle(a: Tensor, b: Tensor) -> float:
    if a.shape != b.shape or not (a.floats and b.floats) or not a.shape:
        return inf
    width = a.shape[-1]
    return max(
        (
            _cosine(a.values[at : at + width], b.values[at : at + width])
            for at in range(0, len(a.values), max(1, width))
        ),
        default=0.0,
    )


def _cosine(a: Sequence[float], b: Sequence[float]) -> float:
    product = float(sum(map(mul, a, b)))
    apart = 1 - product / max(hypot(*a) * hypot(*b), LEAST_LENGTH)
    # ``max`` alone would take NaN for 0.
    return max(0.0, apart) if isfinite(apart) else inf


def _relative(a: Tensor, b: Tensor) -> float:
    if a.shape != b.shape or a.floats != b.floats:
        return inf
    if not a.floats:
        return sum(map(ne, a.values, b.values)) / len(a.values) if a.values else 0.0
    if not a.values:
        return 0.0
    return dist(a.values, b.values) / max(hypot(*a.values), LEAST_LENGTH)
