"""How long a step takes: against the runs that were published, and what must hold of all.

Holds: core/training/planner/pace.py, core/training/planner/work.py
"""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preamar.core.capacity.hardware import SHIPPED
from preamar.core.training.backends import work
from preamar.core.training.backends.deepspeed.pace import ERROR_PERCENT, step
from preamar.core.training.backends.shapes import PRESETS, Shape
from preamar.core.training.backends.sizing_problem import SizingProblem
from preamar.core.training.backends.speeds import Machine, Way, machine

# arXiv:2104.04473, table 1: weights in billions, heads, width, layers, tensor, pipeline, A100s,
# global batch, TFLOP/s of each. Sequences of 2048, 51,200 tokens, all activations recomputed.
TABLE = [
    (1.7, 24, 2304, 24, 1, 1, 32, 512, 137),
    (3.6, 32, 3072, 30, 2, 1, 64, 512, 138),
    (7.5, 32, 4096, 36, 4, 1, 128, 512, 142),
    (18.4, 48, 6144, 40, 8, 1, 256, 1024, 135),
    (39.1, 64, 8192, 48, 8, 2, 512, 1536, 138),
    (76.1, 80, 10_240, 60, 8, 4, 1024, 1792, 140),
    (145.6, 96, 12_288, 80, 8, 8, 1536, 2304, 148),
    (310.1, 128, 16_384, 96, 8, 16, 1920, 2160, 155),
    (529.6, 128, 20_480, 105, 8, 35, 2520, 2520, 163),
    (1008.0, 160, 25_600, 128, 8, 64, 3072, 3072, 163),
]
A100 = SHIPPED.of("A100-80GB")


def gpt(heads, hidden, layers):
    """Their feed-forward network has two matrices of 4h, ours three: as many weights."""
    return Shape(layers, hidden, heads, heads, 8 * hidden // 3, 2048, 51_200)


def run(row):
    _, heads, hidden, layers, tensor, pipeline, gpus, batch, _ = row
    shape = gpt(heads, hidden, layers)
    terms = SizingProblem(
        batch, ranks_per_worker=8, tensor=tensor, pipeline=pipeline, zero_stage=0, shape=shape
    )
    data = gpus // tensor // pipeline
    found = step(terms, data, 1, batch // data, machine(A100, Way.RDMA, element=2), recomputed=True)
    return shape, found, batch * work.flops(shape, recomputed=True) / gpus / found.seconds


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0]}B")
def test_the_published_runs_are_met_within_20_percent(row):
    shape, _, reached = run(row)
    assert shape.weights / 1e9 == pytest.approx(row[0], rel=0.02, abs=0.06)
    assert reached / 1e12 == pytest.approx(row[-1], rel=0.2)


def test_the_error_that_is_told_covers_them():
    worst = max(abs(run(row)[2] / row[-1] / 1e12 - 1) for row in TABLE)
    assert worst * 100 < ERROR_PERCENT


def test_their_formula_of_flops_is_ours():
    layers, hidden, sequence, vocabulary = 96, 12_288, 2048, 51_200
    theirs = 72 * sequence * layers * hidden**2
    theirs *= 1 + sequence / (6 * hidden) + vocabulary / (12 * layers * hidden)
    assert work.flops(gpt(96, hidden, layers)) == pytest.approx(theirs, rel=1e-4)


def test_gpt_3_needs_the_published_flops():
    # arXiv:2005.14165, table D.1: 174.6 B weights, 300 B tokens, 3.14e23 FLOPs, 6 a weight and token.
    shape = gpt(96, 12_288, 96)
    assert round(6 * 174.6e9 * 300e9 / 1e23, 2) == 3.14
    assert work.flops(shape) / 2048 * 300e9 == pytest.approx(3.14e23, rel=0.05)


SMALL = SizingProblem(64, shape=PRESETS["gpt-small"], element=4)
ONE = Machine(1e12, 1e9, 1e8)


def test_the_bubble_is_that_of_a_pipeline_without_interleaving():
    found = step(replace(SMALL, pipeline=4), 1, 1, 16, Machine(1e12, 1e30, 1e30))
    assert found.bubble / found.compute == pytest.approx(3 / 16)


@pytest.mark.parametrize(
    ("stage", "accumulation", "copies"),
    [(0, 1, 2), (1, 8, 2), (2, 1, 2), (2, 3, 4), (3, 1, 3), (3, 2, 6)],
)
def test_zero_sends_what_its_paper_says(stage, accumulation, copies):
    terms = replace(SMALL, zero_stage=stage)
    assert work.gradients(terms, 1000, 4, accumulation) == copies * 1000 * 4 * 3 / 4


def test_a_single_rank_sends_nothing():
    found = step(SMALL, 1, 1, 64, ONE)
    assert (found.gradients, found.layers, found.stages, found.bubble) == (0, 0, 0, 0)


def test_what_is_not_published_is_not_guessed():
    assert machine(replace(A100, flops32=0), Way.RDMA, element=4) is None
    assert step(replace(SMALL, shape=None), 1, 1, 64, ONE) is None


def test_a_slower_way_is_slower():
    paces = [machine(A100, way, element=2).outside for way in (Way.TCP, Way.RDMA, Way.NVLINK)]
    assert paces == sorted(paces)
    assert machine(replace(A100, network=1e9), Way.TCP, element=2).outside == 0.8e9


@given(st.integers(1, 64), st.integers(1, 8), st.integers(0, 3), st.integers(1, 8))
def test_more_samples_take_longer_and_more_ranks_never_send_less(data, micro, stage, turns):
    terms = replace(SMALL, zero_stage=stage)
    now = step(terms, data, micro, turns, ONE)
    assert step(terms, data, micro + 1, turns, ONE).seconds > now.seconds
    assert step(terms, data + 1, micro, turns, ONE).gradients >= now.gradients
