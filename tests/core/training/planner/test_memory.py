"""What a rank needs: the figures that DeepSpeed and the papers print, and what must hold of all.

Holds: core/training/planner/memory.py, core/training/planner/shapes.py
"""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preamar.api.recipe import Offload
from preamar.core.training.backends.deepspeed import memory
from preamar.core.training.backends.deepspeed.memory import (
    activations,
    at_least,
    estimate,
    host_states,
    states,
)
from preamar.core.training.backends.shapes import PRESETS, Shape
from preamar.core.training.backends.sizing_problem import SizingProblem

GIB, MIB = 2**30, 2**20

# https://deepspeed.readthedocs.io/en/latest/memory.html, "cold" tables: 2851M weights, 32M in the
# largest layer, one node with eight GPUs. Columns: stage, offload_optimizer, offload_param,
# zero_init; GB per CPU and per GPU as printed. DeepSpeed's GB are 2^30 bytes.
DEEPSPEED = [
    (2, True, False, True, 127.45, 5.31),
    (2, False, False, True, 127.45, 15.93),
    (3, True, True, True, 71.69, 0.12),
    (3, True, False, True, 63.72, 0.78),
    (3, False, False, True, 1.43, 6.09),
]


@pytest.mark.parametrize(("stage", "optimizer", "weights", "zero_init", "cpu", "gpu"), DEEPSPEED)
def test_deepspeeds_documented_tables_are_reproduced(
    stage, optimizer, weights, zero_init, cpu, gpu
):
    total, largest = 2_851_000_000, 32_000_000
    kept = not weights
    device = states(total, largest, stage, 8, offloaded=optimizer, kept=kept)
    host = host_states(total, largest, stage, 8, 8, offloaded=optimizer, kept=kept)
    assert (round(host / GIB, 2), round(device / GIB, 2)) == (cpu, gpu)


@pytest.mark.parametrize(
    ("offloaded", "kept", "printed"),
    [(False, True, 3291), (True, False, 125), (True, True, 477)],
    ids=["all on the GPU", "all offloaded", "the optimizer offloaded"],
)
def test_deepspeeds_example_of_t5_large_on_four_gpus_is_reproduced(offloaded, kept, printed):
    # The page prints the counts rounded to 10,000 weights, and whole MB below.
    need = states(737_670_000, 32_900_000, 3, 4, offloaded=offloaded, kept=kept)
    assert need // MIB == printed


# arXiv:1910.02054, figure 1: 7.5B weights on 64 ranks, in GB of 10^9 bytes.
@pytest.mark.parametrize(("stage", "printed"), [(0, 120), (1, 31.4), (2, 16.6), (3, 1.9)])
def test_the_zero_papers_example_is_reproduced(stage, printed):
    need = at_least(7_500_000_000, stage, 64) / 10**9
    assert round(need, 1) == printed


def test_in_fp32_weights_are_their_own_copy():
    assert [at_least(1000, stage, 1, element=4) for stage in range(4)] == [16_000] * 4
    assert at_least(1000, 1, 4, element=4) == 8000 + 8000 // 4


LIMITED = SizingProblem(64, most=8, shape=PRESETS["gpt-tiny"], limit=0, on_cpu=True)
W = PRESETS["gpt-tiny"].weights


@pytest.mark.parametrize(
    ("change", "need"),
    [
        ({}, 4 * W + 12 * W // 2),
        ({"element": 4}, 8 * W + 8 * W // 2),
        ({"tensor": 2, "pipeline": 2}, 4 * (W // 4) + 12 * (W // 4) // 2),
        ({"zero_stage": 3, "offload": Offload.NVME}, 2 * (2 * W // 2)),
        ({"offload": Offload.CPU}, 4 * W + 12 * W // 2),
    ],
    ids=[
        "ZeRO 1",
        "in FP32",
        "the model split in four",
        "on disk",
        "offloading to the same memory",
    ],
)
def test_what_a_rank_lacks(change, need):
    assert memory.lacking(replace(LIMITED, **change), 2) == need
    assert memory.lacking(replace(LIMITED, limit=need, **change), 2) is None


def test_on_a_cpu_what_is_offloaded_stays_in_the_same_memory():
    disk = replace(LIMITED, zero_stage=2, ranks_per_worker=2, offload=Offload.NVME)
    here = replace(disk, offload=Offload.CPU)
    assert estimate(here, 2, 1, 1) - estimate(disk, 2, 1, 1) == 16 * W * 3 // 2 // 2
    on_gpus = [replace(terms, on_cpu=False) for terms in (here, disk)]
    assert len({estimate(terms, 2, 1, 1) for terms in on_gpus}) == 1


def test_the_fullest_stage_of_a_pipeline_is_meant():
    shape = PRESETS["gpt-tiny"]
    assert shape.of_stage(3) == 2 * shape.layer + shape.table + shape.hidden
    assert shape.of_stage(1) == shape.weights


# arXiv:2205.05198: a layer of GPT-3 (sequence 2048, hidden 12288) keeps 34 sbh without the scores
# of attention, on eight tensor-parallel ranks sbh (10 + 24 / 8).
@pytest.mark.parametrize(("tensor", "factor"), [(1, 34), (8, 13)])
def test_the_papers_formula_of_activations_is_followed(tensor, factor):
    one, two = (Shape(n, 12_288, 96, 96, 49_152, 2048, 1) for n in (1, 2))
    ways = {"tensor": tensor, "pipeline": 1}
    layer = activations(two, 1, 1, **ways) - activations(one, 1, 1, **ways)
    assert layer == factor * 2048 * 12_288


def test_scores_of_attention_count_where_they_are_stored():
    shape = Shape(3, 1024, 8, 8, 4096, 128, 16)
    ways = {"tensor": 1, "pipeline": 1, "element": 4}
    more = activations(shape, 2, 1, **ways, scores=True) - activations(shape, 2, 1, **ways)
    assert more == 3 * 2 * 8 * 128 * 128 * 4


# The default image on a CPU: preset, ZeRO stage, ranks, bytes of an element, micro batch,
# accumulation, and the highest resident MB of a rank in its first four steps.
MEASURED = [
    ("gpt-tiny", 1, 1, 4, 1, 1, 461),
    ("gpt-tiny", 1, 1, 4, 8, 1, 549),
    ("gpt-tiny", 1, 2, 4, 8, 1, 555),
    ("gpt-small", 0, 1, 4, 1, 1, 1224),
    ("gpt-small", 0, 2, 4, 2, 1, 1491),
    ("gpt-small", 1, 1, 4, 1, 1, 1570),
    ("gpt-small", 1, 1, 4, 2, 1, 1872),
    ("gpt-small", 1, 1, 4, 4, 1, 2515),
    ("gpt-small", 1, 1, 2, 1, 1, 1351),
    ("gpt-small", 1, 2, 4, 1, 1, 1309),
    ("gpt-small", 1, 2, 4, 1, 4, 1385),
    ("gpt-small", 2, 1, 4, 1, 1, 1572),
    ("gpt-small", 2, 2, 4, 1, 1, 1313),
    ("gpt-small", 3, 1, 4, 1, 1, 1841),
    ("gpt-small", 3, 2, 4, 1, 1, 1584),
]


@pytest.mark.parametrize(
    ("preset", "stage", "data", "element", "micro", "accumulation", "peak"), MEASURED
)
def test_the_estimate_meets_what_was_measured(
    preset, stage, data, element, micro, accumulation, peak
):
    terms = SizingProblem(64, shape=PRESETS[preset], zero_stage=stage, element=element, on_cpu=True)
    expected = estimate(terms, data, micro, accumulation)
    whole, taken = peak * 10**6, peak * 10**6 - memory.LIBRARIES
    assert abs((expected + memory.LIBRARIES) / whole - 1) < 0.05
    assert abs(taken / expected - 1) <= memory.ERROR_PERCENT / 100
    assert at_least(terms.shape.weights, stage, data, element=element) <= taken


def test_the_first_stage_of_a_pipeline_holds_a_micro_batch_for_each_stage():
    shape = Shape(8, 1024, 8, 8, 4096, 128, 16)
    one = activations(shape, 1, 64, tensor=1, pipeline=1)
    four = activations(shape, 1, 64, tensor=1, pipeline=4)
    assert four == 4 * 2 * 34 * 128 * 1024 < one
    assert activations(shape, 1, 2, tensor=1, pipeline=4) < four


def test_presets_have_the_sizes_that_the_trainer_prints():
    assert PRESETS["gpt-tiny"].weights == 4 * (2 * 128 * 192 + 3 * 128 * 352 + 256) + 2049 * 128
    assert {name: shape.largest for name, shape in PRESETS.items()} == {
        "gpt-tiny": 2048 * 128,
        "gpt-small": 8192 * 512,
        "gpt-base": 32_768 * 768,
        "moe-tiny": 8 * 3 * 128 * 176,  # the experts of a layer stand together
        "moe-small": 8 * 3 * 512 * 704,
    }


def test_of_the_experts_a_token_uses_two():
    shape = PRESETS["moe-tiny"]
    assert shape.weights == 4 * (2 * 128 * 192 + 8 * (3 * 176 + 1) * 128 + 256) + 2049 * 128
    assert shape.weights - shape.active == 4 * 6 * 3 * 128 * 176
    assert all(each.active == each.weights for each in PRESETS.values() if not each.experts)


def test_ranks_that_share_experts_need_less():
    terms = SizingProblem(64, most=8, shape=PRESETS["moe-tiny"], element=4)
    shared = replace(terms, expert=2)
    experts = 4 * 8 * 3 * 128 * 176
    assert estimate(terms, 4, 1, 1) - estimate(shared, 4, 1, 1) == 2 * 4 * experts // 2
    rank = replace(shared, limit=0)
    dense = terms.shape.weights - experts
    assert memory.lacking(rank, 4) == 8 * dense + 8 * dense // 4 + 4 * experts + 4 * experts // 2


WEIGHTS, RANKS = st.integers(1, 10**12), st.integers(1, 1024)
ELEMENT = st.sampled_from([2, 4])


@given(WEIGHTS, st.floats(0, 1), RANKS, st.booleans(), ELEMENT)
def test_more_zero_never_needs_more(weights, share, ranks, offloaded, element):
    largest = int(weights * share)
    needs = [
        states(weights, largest, stage, ranks, offloaded=offloaded, element=element)
        for stage in range(4)
    ]
    assert needs == sorted(needs, reverse=True)
    bounds = [at_least(weights, stage, ranks, element=element) for stage in range(4)]
    assert bounds == sorted(bounds, reverse=True)


@given(WEIGHTS, st.integers(0, 3), RANKS, st.integers(1, 1024), ELEMENT)
def test_more_ranks_never_need_more_each(weights, stage, ranks, more, element):
    for need in (
        lambda n: states(weights, weights // 9, stage, n, element=element),
        lambda n: at_least(weights, stage, n, element=element),
    ):
        assert need(ranks + more) <= need(ranks)


@given(WEIGHTS, st.integers(0, 3), RANKS, ELEMENT)
def test_nobody_is_refused_for_more_than_is_expected(weights, stage, ranks, element):
    expected = states(weights, 0, stage, ranks, element=element)
    # Each part is rounded down by itself.
    assert at_least(weights, stage, ranks, element=element) <= expected


TERMS = st.builds(
    SizingProblem,
    total=st.just(64),
    tensor=st.sampled_from([1, 2, 4]),
    pipeline=st.sampled_from([1, 2]),
    ranks_per_worker=st.integers(1, 8),
    offload=st.sampled_from([Offload.NONE, Offload.CPU]),
    element=ELEMENT,
    shape=st.sampled_from(list(PRESETS.values())),
    on_cpu=st.booleans(),
)


@given(TERMS, st.integers(1, 64), st.integers(1, 8), st.integers(1, 8))
def test_an_estimate_grows_with_the_micro_batch_and_shrinks_with_zero(terms, data, micro, turns):
    gpu = replace(terms, on_cpu=False)
    needs = [estimate(replace(gpu, zero_stage=z), data, micro, turns) for z in (1, 2, 3)]
    assert needs == sorted(needs, reverse=True)
    here = replace(terms, offload=Offload.NONE)
    assert estimate(here, data + 1, micro, turns) <= estimate(here, data, micro, turns)
    assert estimate(terms, data, micro + 1, turns) > estimate(terms, data, micro, turns)


@pytest.mark.parametrize(
    "change",
    [{"shape": None}, {"adam": False}],
    ids=["an unknown model", "another optimizer"],
)
def test_what_is_not_known_is_not_guessed(change):
    terms = SizingProblem(**({"total": 8, "shape": PRESETS["gpt-tiny"], "limit": 1} | change))
    assert estimate(terms, 1, 1, 8) is None
    assert memory.lacking(terms, 1) is None
