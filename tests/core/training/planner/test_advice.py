"""What a user is told whose size is impossible: whole sentences, and each proposal is tried.

Holds: core/training/planner/advice.py
"""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preamar.core.capacity.hardware import device_of
from preamar.core.quantities import amount
from preamar.core.training.backends.shapes import PRESETS
from preamar.core.training.backends.sizing_problem import SizingProblem
from preamar.core.training.planner.advice import cannot_run
from preamar.core.training.planner.sizes import Unfit, problem
from tests.hunting import examples

BASE = PRESETS["gpt-base"]
NONE = "No size from workers.min to workers.max works:"


@pytest.mark.parametrize(
    ("terms", "workers", "reason", "sentence"),
    [
        pytest.param(
            SizingProblem(64, most=4), 3, Unfit.BATCH,
            "A global batch of 64 cannot be split evenly over 3 ranks. Set workers.replicas to 2 or 4.",
            id="the nearest sizes",
        ),
        pytest.param(
            SizingProblem(64, 16, most=4, ranks_per_worker=4, tensor=2), 4, Unfit.BATCH,
            "A global batch of 64 cannot be split evenly over 8 data-parallel ranks in micro batches "
            "of 16. Set workers.replicas to 2.",
            id="a micro batch of the user's",
        ),
        pytest.param(
            SizingProblem(64, 24, most=1), 1, Unfit.BATCH,
            "A global batch of 64 cannot be split evenly over 1 rank in micro batches of 24. "
            f"{NONE} set batch.micro to 0, which lets Preamar choose.",
            id="a micro batch that fits nowhere",
        ),
        pytest.param(
            SizingProblem(7, least=2, most=4), 3, Unfit.BATCH,
            "A global batch of 7 cannot be split evenly over 3 ranks. "
            f"{NONE} set workers.min and workers.replicas to 1.",
            id="a smaller size than allowed",
        ),
        pytest.param(
            SizingProblem(8, most=3, tensor=4), 3, Unfit.RANKS,
            "3 ranks cannot be divided into copies of the model on parallelism.tensor 4 x "
            "parallelism.pipeline 1. "
            f"{NONE} set workers.max and workers.replicas to 4.",
            id="a larger size than allowed",
        ),
        pytest.param(
            SizingProblem(8, most=8, tensor=2, expert=4), 2, Unfit.EXPERTS,
            "2 ranks cannot be divided into groups of parallelism.expert 4. Set workers.replicas to 4.",
            id="experts that fill no stage",
        ),
        pytest.param(
            SizingProblem(8, least=2, most=2, ranks_per_worker=3, tensor=2), 2, Unfit.BATCH,
            "A global batch of 8 cannot be split evenly over 3 data-parallel ranks. "
            f"{NONE} set workers.ranksPerWorker to 1.",
            id="ranks in a worker that never fit",
        ),
        pytest.param(
            SizingProblem(64, least=2, most=2, ranks_per_worker=2, shape=BASE, limit=5 * 10**8), 2,
            Unfit.MEMORY,
            "With 4 ranks each needs at least 672.1 MiB for weights, gradients and optimizer, and "
            f"workers.resources.limits.memory leaves it 476.8 MiB. {NONE} set "
            "workers.resources.limits.memory to 1345Mi or more.",
            id="too little memory at any size",
        ),
        pytest.param(
            SizingProblem(64, most=4, shape=BASE, limit=10**9), 2, Unfit.MEMORY,
            "With 2 ranks each needs at least 960.2 MiB for weights, gradients and optimizer, and "
            "workers.resources.limits.memory leaves it 953.7 MiB. Set workers.replicas to 4.",
            id="too little memory at this size",
        ),
        pytest.param(
            SizingProblem(64, most=4, expert=2, shape=BASE), 2, Unfit.PARALLELISM,
            "The model has no experts to share: set parallelism.expert to 1.",
            id="a parallelism that no size serves",
        ),
    ],
)  # fmt: skip
def test_the_whole_sentence(terms, workers, reason, sentence):
    assert cannot_run(terms, workers) == (reason, sentence)


def test_a_possible_size_is_not_advised():
    assert cannot_run(SizingProblem(64, most=4), 2) is None


TERMS = st.builds(
    SizingProblem,
    total=st.integers(1, 100),
    micro=st.sampled_from([0, 0, 2, 5]),
    least=st.integers(1, 3),
    most=st.integers(3, 9),
    ranks_per_worker=st.integers(1, 6),
    tensor=st.sampled_from([1, 2, 3, 4]),
    pipeline=st.sampled_from([1, 1, 2]),
    expert=st.sampled_from([1, 1, 2, 3]),
    shape=st.sampled_from([None, PRESETS["gpt-small"]]),
    limit=st.one_of(st.none(), st.integers(1, 10**9)),
    of_product=st.booleans(),
    zero_stage=st.integers(0, 3),
)
EDITS = {
    r"batch\.micro to (\d+)": lambda t, n: replace(t, micro=n),
    r"batch\.global to (\d+)": lambda t, n: replace(t, total=n),
    r"workers\.min and workers\.replicas to (\d+)": lambda t, n: replace(t, least=n),
    r"workers\.max and workers\.replicas to (\d+)": lambda t, n: replace(t, most=n),
    r"workers\.ranksPerWorker to (\d+)": lambda t, n: replace(t, ranks_per_worker=n),
    r"parallelism\.zeroStage to (\d+)": lambda t, n: replace(t, zero_stage=n),
}


@examples(100, 20_000)
@given(TERMS, st.integers(0, 9))
def test_who_does_as_told_is_not_refused_again(terms, pick):
    """Reads the advice as a user would, carries it out, and asks again."""
    workers = terms.least + pick % (terms.most - terms.least + 1)
    found = cannot_run(terms, workers)
    if found is None or found.reason == Unfit.PARALLELISM:
        return
    advice = found.sentence
    if "change workers.ranksPerWorker or the parallelism" in advice:
        return
    for pattern, edit in EDITS.items():
        for number in re.findall(pattern, advice):
            terms = edit(terms, int(number))
    for limit in re.findall(r"limits\.memory to (\w+) or more", advice):
        terms = replace(terms, limit=int(amount(limit)) // terms.ranks_per_worker)
    for product in re.findall(r"accelerator\.products to ([-\w]+)", advice):
        terms = replace(terms, limit=device_of(product).memory)
    choices = re.findall(r"workers\.replicas to (\d+)(?: or (\d+))?", advice)
    sizes = [int(n) for pair in choices for n in pair if n] or [workers]
    for size in sizes:
        assert terms.least <= size <= terms.most
        assert problem(terms, size) is None, advice
