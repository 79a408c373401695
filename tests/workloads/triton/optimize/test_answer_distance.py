"""Gateways measure a difference as the optimiser's gate does, so that one tolerance serves both.

Holds: protocol/answer_distance.py, preamar_model/optimize/error.py
"""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from preamar_model.optimize import error as gate

from preamar.protocol.answer_distance import Tensor, error
from tests.hunting import examples

NUMBERS = st.floats(-1e6, 1e6, width=32)
SHAPES = arrays.array_shapes(min_dims=1, max_dims=3, max_side=5)


def tensor(array):
    return Tensor(array.shape, array.reshape(-1).tolist(), array.dtype.kind == "f")


def both(task, wanted, got):
    """By the optimiser, and by the gateway."""
    names = ["EMBEDDING", "y", "z"]
    a, b = (dict(zip(names, side, strict=False)) for side in (wanted, got))
    with np.errstate(invalid="ignore"):
        told = gate.error(task, a, b)
    ours = error(task, {k: tensor(v) for k, v in a.items()}, {k: tensor(v) for k, v in b.items()})
    return (np.inf if np.isnan(told) else told), ours


@st.composite
def pairs(draw, numbers, dtype):
    shape = draw(SHAPES)
    return tuple(draw(arrays.arrays(dtype, shape, elements=numbers)) for _ in range(2))


@examples(25, 1000)
@given(st.lists(pairs(NUMBERS, np.float32), min_size=1, max_size=3))
def test_tensors_of_floats(found):
    told, ours = both("Infer", [a for a, _ in found], [b for _, b in found])
    assert ours == pytest.approx(told, rel=1e-9)


@examples(25, 1000)
@given(pairs(st.integers(-3, 3), np.int64))
def test_tensors_of_integers(found):
    told, ours = both("Infer", found[:1], found[1:])
    assert ours == told


@examples(25, 1000)
@given(pairs(NUMBERS, np.float32))
def test_embeddings(found):
    told, ours = both("Embed", found[:1], found[1:])
    assert ours == pytest.approx(told, rel=1e-6, abs=1e-12)


@examples(25, 1000)
@given(pairs(NUMBERS, np.float32), st.sampled_from([np.nan, np.inf, -np.inf]))
def test_what_is_no_number_is_infinitely_far(found, bad):
    a, b = found
    b.reshape(-1)[0] = bad
    for task in ("Infer", "Embed"):
        assert both(task, [a], [b])[1] == np.inf


@examples(25, 1000)
@given(pairs(NUMBERS, np.float32))
def test_the_same_is_not_apart(found):
    assert both("Infer", found[:1], found[:1])[1] == 0
    assume(np.all(np.linalg.norm(found[0], axis=-1) > 1e-6))
    assert both("Embed", found[:1], found[:1])[1] == pytest.approx(0, abs=1e-9)


def test_another_shape_or_an_output_that_is_missing_is_infinitely_far():
    a = tensor(np.ones((2, 3), np.float32))
    assert error("Infer", {"y": a}, {"y": tensor(np.ones((3, 2), np.float32))}) == np.inf
    assert error("Infer", {"y": a, "z": a}, {"y": a}) == np.inf
    assert error("Infer", {"y": a}, {"y": a, "more": a}) == 0
    assert error("Embed", {"EMBEDDING": a}, {}) == np.inf


@pytest.mark.parametrize(
    ("task", "answer"), [("Generate", {"TEXT": 0}), ("Embed", {"y": 0}), ("Infer", {})]
)
def test_what_cannot_be_compared_is_said(task, answer):
    tensors = {name: Tensor((1,), (1.0,), True) for name in answer}
    with pytest.raises(ValueError, match="compare"):
        error(task, tensors, tensors)
