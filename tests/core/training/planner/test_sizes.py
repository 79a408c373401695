"""How a step is split at a size, and which sizes a scale may ask for.

Holds: core/training/planner/parallelism.py, core/training/planner/shapes.py,
core/training/planner/sizes.py, core/training/planner/sizing_problem.py
"""

from dataclasses import replace

import pytest

from preamar.api.recipe import Offload
from preamar.core.training.backends.deepspeed.memory import LIBRARIES
from preamar.core.training.backends.deepspeed.parallelism import fixed, impossible
from preamar.core.training.backends.shapes import PRESETS, shape_of
from preamar.core.training.backends.sizing_problem import SizingProblem
from preamar.core.training.planner.sizes import Split, memory, split, valid, world_sizes
from tests.core.builders import a_job

TINY = PRESETS["gpt-tiny"]


@pytest.mark.parametrize(
    ("total", "micro", "ranks", "expected"),
    [
        pytest.param(64, 0, 2, Split(8, 4), id="a micro batch of at most 8 is chosen"),
        pytest.param(64, 0, 64, Split(1, 1), id="a sample a rank"),
        pytest.param(30, 0, 3, Split(5, 2), id="the largest divisor that fits"),
        pytest.param(64, 16, 2, Split(16, 2), id="the user's micro batch is kept"),
        pytest.param(64, 16, 8, None, id="the user's micro batch does not fit"),
        pytest.param(64, 0, 3, None, id="ranks that do not divide the batch"),
        pytest.param(64, 0, 0, None, id="no ranks"),
    ],
)
def test_split(total, micro, ranks, expected):
    assert split(SizingProblem(total, micro, least=ranks, most=ranks), ranks) == expected


def micros(**terms):
    found = SizingProblem(**terms)
    return [split(found, n).micro for n in valid(found)]


def test_all_sizes_share_a_micro_batch_where_it_is_not_too_small():
    assert micros(total=16, most=4) == [4, 4, 4]
    assert micros(total=48, most=4) == [4, 4, 4, 4]


def test_no_size_is_slowed_to_less_than_half_for_the_sake_of_another():
    assert micros(total=64, most=64) == [8, 8, 8, 8, 4, 2, 1]


def test_a_pipeline_has_a_micro_batch_for_each_stage():
    assert split(SizingProblem(16, most=8, pipeline=4), 8) == Split(2, 4)
    assert split(SizingProblem(3, most=4, pipeline=4), 4) == Split(1, 3)


def test_a_micro_batch_is_chosen_that_fits_even_if_the_estimate_is_wrong():
    terms = SizingProblem(64, most=1, shape=TINY)
    need = memory(replace(terms, micro=2), 1) * 2 + LIBRARIES
    assert split(replace(terms, limit=need), 1) == Split(2, 32)
    assert split(replace(terms, limit=need - 1), 1) == Split(1, 64)


def test_a_size_outside_the_bounds_has_its_own_micro_batch():
    terms = SizingProblem(64, least=2, most=4, shape=TINY)
    need = memory(terms, 2)  # with half of its optimizer's state, in micro batches of 8
    terms = replace(terms, limit=2 * need + LIBRARIES)
    assert split(terms, 2) == Split(8, 4)
    assert split(terms, 1).micro == 4  # a whole one fits beside smaller micro batches only


def test_a_size_is_left_out_only_if_it_cannot_fit():
    bound = 16 * TINY.weights  # by ZeRO's paper; DeepSpeed's documentation expects more
    terms = SizingProblem(64, most=4, shape=TINY, limit=bound)
    assert valid(terms) == (1, 2, 4)
    assert split(terms, 1) == Split(1, 64)
    assert valid(replace(terms, limit=bound - 1)) == (2, 4)
    assert valid(replace(terms, limit=bound - 1, zero_stage=0)) == ()


def test_the_limit_of_a_worker_is_shared_by_its_ranks_and_a_gpus_is_not_known():
    wish = {"ranksPerWorker": 2, "resources": {"limits": {"memory": "1Gi"}}}
    assert SizingProblem.of(a_job(workers=wish).spec).limit == 2**29
    gpu = a_job(workers=wish, accelerator={"type": "GPU", "count": 2})
    assert SizingProblem.of(gpu.spec).limit is None
    assert SizingProblem.of(a_job().spec).limit is None


def test_the_terms_are_those_of_the_spec():
    job = a_job(
        batch={"global": 96, "micro": 3},
        workers={
            "replicas": 3,
            "min": 2,
            "max": 6,
            "ranksPerWorker": 4,
            "resources": {"limits": {"memory": "4Gi"}},
        },
        parallelism={"tensor": 2, "pipeline": 3, "expert": 4, "zeroStage": 0},
        precision="FP32",
    )
    terms = SizingProblem(
        96,
        3,
        least=2,
        most=6,
        ranks_per_worker=4,
        tensor=2,
        pipeline=3,
        expert=4,
        zero_stage=0,
        element=4,
        shape=TINY,
        limit=2**30,
        on_cpu=True,
    )
    assert SizingProblem.of(job.spec) == terms
    apart = {"zeroStage": 3, "offload": "NVMe"}
    other = SizingProblem.of(a_job(parallelism=apart, accelerator={"type": "GPU"}).spec)
    assert other == SizingProblem(
        64, most=4, zero_stage=3, offload=Offload.NVME, shape=TINY, of_product=True
    )
    products = {"type": "GPU", "products": ["NVIDIA-H200", "NVIDIA-L4"]}
    assert SizingProblem.of(a_job(accelerator=products).spec).limit == 24 * 10**9
    products["products"].append("Tesla-T4")
    assert SizingProblem.of(a_job(accelerator=products).spec).limit is None


@pytest.mark.parametrize(
    ("spec", "layers"),
    [
        ({"model": {"preset": "gpt-tiny"}}, 4),
        ({"model": {"parameters": {"layers": 7, "seed": 3}}}, 7),
        ({"model": {"preset": "other"}}, None),
        ({"model": {"parameters": {"width": 7}}}, None),
        ({"model": {"parameters": {"heads": 3}}}, None),
        ({"model": {"parameters": {"heads": 0}}}, None),
        ({"image": "x:1", "command": ["train"]}, None),
    ],
    ids=["a preset", "changed", "unknown", "no such size", "uneven heads", "none", "own program"],
)
def test_the_model_is_known_or_not_guessed(spec, layers):
    shape = shape_of(a_job(**spec).spec)
    assert (shape and shape.layers) == layers


@pytest.mark.parametrize(
    ("optimizer", "adam"),
    [
        (None, True),
        ({"type": "AdamW"}, True),
        ({"type": "SGD"}, False),
        ({}, False),
        ("SGD", False),
    ],
)
def test_another_optimizer_keeps_other_state(optimizer, adam):
    config = {} if optimizer is None else {"optimizer": optimizer}
    assert SizingProblem.of(a_job(deepspeedConfig=config).spec).adam == adam


RESIZABLE = [
    *({"zero_stage": stage} for stage in range(4)),
    *({"tensor": 2, "zero_stage": stage} for stage in range(3)),
    {"pipeline": 2, "zero_stage": 1},
]
FIXED = [
    {"expert": 2},
    {"expert": 2, "zero_stage": 2},
    {"pipeline": 2, "zero_stage": 0},
    {"tensor": 2, "zero_stage": 3},
]


@pytest.mark.parametrize("ways", RESIZABLE, ids=str)
def test_what_can_be_resized_lists_all_its_sizes(ways):
    terms = SizingProblem(64, most=8, **ways)
    assert not fixed(terms)
    assert world_sizes(terms, 4, started=True) == valid(terms)
    assert len(valid(terms)) > 1


@pytest.mark.parametrize("ways", FIXED, ids=str)
def test_what_cannot_be_resized_lists_one(ways):
    terms = SizingProblem(64, most=8, **ways)
    assert fixed(terms)
    assert world_sizes(terms, 4, started=True) == (4,)
    assert world_sizes(terms, 4, started=False) == (4,)
    assert world_sizes(terms, 5, started=False) == (4,)
    assert world_sizes(terms, 3, started=True) == (3,)  # an edit does not move it


def test_sizes_are_told_in_ranks_and_bounded():
    assert world_sizes(SizingProblem(64, most=4, ranks_per_worker=2), 2, started=False) == (2, 4, 8)
    many = SizingProblem(9_979_200, most=1000)
    told = world_sizes(many, 480, started=False)
    assert len(told) == 64 < len(valid(many))
    assert told[0] < 480 < told[-1]


@pytest.mark.parametrize(
    ("ways", "words"),
    [
        ({"pipeline": 2, "zero_stage": 2}, "set parallelism.zeroStage to 1"),
        ({"pipeline": 8, "shape": TINY}, "set parallelism.pipeline to at most 4"),
        ({"expert": 2, "shape": TINY}, "set parallelism.expert to 1"),
        ({"expert": 3, "shape": PRESETS["moe-tiny"]}, "set parallelism.expert to a divisor of 8"),
        ({"tensor": 4, "shape": TINY}, "set parallelism.tensor to a divisor of 2"),
        ({"expert": 2, "tensor": 2, "zero_stage": 3}, "zeroStage to at most 2"),
        ({"expert": 2, "tensor": 2, "pipeline": 2}, "parallelism.pipeline to 1"),
        ({"expert": 2, "tensor": 2, "offload": Offload.CPU}, "parallelism.offload to None"),
    ],
)
def test_an_impossible_parallelism_says_what_to_change(ways, words):
    assert words in impossible(SizingProblem(64, most=16, **ways))
