"""At which sizes can this job run, and how is a step split there?

The global batch never changes: micro x accumulation x data-parallel ranks is the same number at
every size. Ranks = tensor x pipeline x data; what a rank cannot do without must fit. A
trainer's own elasticity stays off, because it changes the batch.
"""

from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache
from math import gcd
from typing import NamedTuple

from preamar.core.quantities import in_words
from preamar.core.training.backends.chosen import BACKEND
from preamar.core.training.backends.sizing_problem import SizingProblem

LARGEST_MICRO = 8
"""The largest micro batch that is chosen unasked: it bounds memory, and costs little speed."""
LISTED = 64


class Split(NamedTuple):
    """How one step is split: micro x accumulation x data-parallel ranks = global batch."""

    micro: int
    accumulation: int


class Unfit(StrEnum):
    """Why a size is left out."""

    PARALLELISM = "ParallelismImpossible"
    RANKS = "RanksNotDivisible"
    EXPERTS = "ExpertsNotDivisible"
    BATCH = "BatchNotDivisible"
    MEMORY = "MemoryTooSmall"


class UnfitSize(NamedTuple):
    """What is wrong with a size, in one sentence."""

    reason: Unfit
    sentence: str


def problem(terms: SizingProblem, workers: int) -> UnfitSize | None:
    """Why a job cannot run on so many workers, whatever its bounds; None if it can."""
    sentence = BACKEND.impossible(terms)
    if sentence:
        return UnfitSize(Unfit.PARALLELISM, sentence)
    ranks, model = workers * terms.ranks_per_worker, terms.tensor * terms.pipeline
    if workers < 1 or ranks % model:
        return UnfitSize(
            Unfit.RANKS,
            f"{_count(ranks)} cannot be divided into copies of the model on parallelism.tensor "
            f"{terms.tensor} x parallelism.pipeline {terms.pipeline}.",
        )
    sentence = BACKEND.ungrouped(terms, ranks)
    if sentence:
        return UnfitSize(Unfit.EXPERTS, sentence)
    data = ranks // model
    if terms.total % (data * (terms.micro or 1)):
        over = _count(data, "data-parallel rank" if model > 1 else "rank")
        micro = f" in micro batches of {terms.micro}" if terms.micro else ""
        return UnfitSize(
            Unfit.BATCH,
            f"A global batch of {terms.total} cannot be split evenly over {over}{micro}.",
        )
    need = BACKEND.lacking(terms, data)
    if need is not None:
        limit = "workers.resources.limits.memory leaves it"
        leaves = "its accelerator has" if terms.of_product else limit
        return UnfitSize(
            Unfit.MEMORY,
            f"With {_count(ranks)} each needs at least {in_words(need)} for weights, gradients and "
            f"optimizer, and {leaves} {in_words(terms.limit or 0)}.",
        )
    return None


@lru_cache(maxsize=1024)
def valid(terms: SizingProblem) -> tuple[int, ...]:
    """The numbers of workers from least to most at which the job can run, the smallest first."""
    return tuple(n for n in range(terms.least, terms.most + 1) if problem(terms, n) is None)


def split(terms: SizingProblem, workers: int) -> Split | None:
    """How a step is split on so many workers; None if it cannot be."""
    if problem(terms, workers) is not None:
        return None
    data = data_ranks(terms, workers)
    each = terms.total // data
    micro = terms.micro or _common(terms)
    # A size that a checkpoint holds us to may lie outside the bounds that the common one is for.
    if not micro or each % micro or not (terms.micro or micro == 1 or _good(terms, data, micro)):
        micro = _largest(terms, (workers,))
    return Split(micro, each // micro)


def _count(number: int, what: str = "rank") -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def data_ranks(terms: SizingProblem, workers: int) -> int:
    """The ranks over which a batch is split, at a size that is a multiple of the model's."""
    return workers * terms.ranks_per_worker // (terms.tensor * terms.pipeline)


def memory(terms: SizingProblem, workers: int) -> int | None:
    """Bytes that each rank is expected to need at this size; None where that is not known."""
    step = split(terms, workers)
    return step and BACKEND.estimate(terms, data_ranks(terms, workers), *step)


def world_sizes(terms: SizingProblem, workers: int, *, started: bool) -> tuple[int, ...]:
    """What a scale may ask for, in ranks: the valid sizes, at most 64, those nearest to the
    present one if there are more. A job of a kind that cannot be resized has one: the present
    once it has ``started``, else the valid one nearest to it."""
    nearest = sorted(valid(terms), key=lambda n: (abs(n - workers), n))
    if BACKEND.fixed(terms):
        nearest = [workers] if started else nearest[:1]
    return tuple(sorted(n * terms.ranks_per_worker for n in nearest[:LISTED]))


@lru_cache(maxsize=1024)
def _common(terms: SizingProblem) -> int:
    """One micro batch for all sizes, so that a resize changes only who computes what; 0 where
    that would be less than half of what one of them could take."""
    sizes = valid(terms)
    if not sizes:
        return 0
    one, best = _largest(terms, sizes), max(_largest(terms, (n,)) for n in sizes)
    return one if 2 * one >= best else 0


def _largest(terms: SizingProblem, sizes: Iterable[int]) -> int:
    """The largest micro batch that all these sizes can take. 1 even where that may not fit: an
    estimate is no proof."""
    over = [data_ranks(terms, n) for n in sizes]
    shared = gcd(*(terms.total // data for data in over))
    for micro in range(min(LARGEST_MICRO, shared), 1, -1):
        if shared % micro == 0 and all(_good(terms, data, micro) for data in over):
            return micro
    return 1


def _good(terms: SizingProblem, data: int, micro: int) -> bool:
    accumulation = terms.total // data // micro
    if accumulation < terms.pipeline:  # stages would idle: (p - 1) / (accumulation + p - 1)
        return False
    return BACKEND.comfortable(terms, data, micro, accumulation)
