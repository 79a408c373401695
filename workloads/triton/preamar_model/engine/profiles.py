"""For which sizes is an engine built? Each free dimension gets the least, the usual and the most.

The first is the batch: from 1 to the batch that the service allows, best at that. A text's length goes up
to the model's context, best at a quarter of it; any other free dimension is bounded by what the
samples showed, because TensorRT needs a bound and nobody else knows one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from preamar_model.files.tensors import Signature, TensorSpec
from preamar_model.passes.session import Feed

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Profile:
    least: Shape
    usual: Shape
    most: Shape


@dataclass(frozen=True, slots=True)
class Bounds:
    """``batch``: rows that are joined at most. ``context``: tokens of a text, None for tensors."""

    batch: int
    context: int | None = None


def profiles(
    signature: Signature, bounds: Bounds, samples: Sequence[Feed]
) -> Mapping[str, Profile]:
    """One for each input with a free dimension."""
    return {
        tensor.name: _profile(tensor, signature.batched, bounds, samples)
        for tensor in signature.inputs
        if any(not isinstance(n, int) for n in tensor.shape)
    }


def _profile(tensor: TensorSpec, batched: bool, bounds: Bounds, samples: Iterable[Feed]) -> Profile:
    seen = [sample[tensor.name].shape for sample in samples]
    ranges = [
        _range(place, size, batched or bounds.context is not None, bounds, [s[place] for s in seen])
        for place, size in enumerate(tensor.shape)
    ]
    least, usual, most = zip(*ranges, strict=True)
    return Profile(least, usual, most)


def _range(
    place: int, size: int | str | None, batched: bool, bounds: Bounds, seen: Sequence[int]
) -> tuple[int, int, int]:
    if isinstance(size, int):
        return size, size, size
    if place == 0 and batched:
        return 1, bounds.batch, bounds.batch
    if bounds.context is not None:
        return 1, max(1, bounds.context // 4), bounds.context
    usual = sorted(seen)[len(seen) // 2]
    return min(seen), usual, max(seen)
