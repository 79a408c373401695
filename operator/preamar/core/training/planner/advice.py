"""What should a user change whose size is impossible?

The nearest sizes that work; where none does within the bounds, the smallest change after which
some do. Each proposal was tried by the planner before it is made.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from preamar.core.capacity.hardware import CATALOGUE
from preamar.core.training.backends.chosen import BACKEND
from preamar.core.training.backends.sizing_problem import SizingProblem
from preamar.core.training.planner.sizes import Unfit, UnfitSize, data_ranks, problem, valid

MOST_WORKERS = 1000  # what the API accepts


class Suggestion(NamedTuple):
    """A problem with one thing changed, and how to say so. ``sizes`` in the words stands for the
    sizes that it makes possible; where there is none the wanted size may stay."""

    terms: SizingProblem
    words: str


@lru_cache(maxsize=1024)
def cannot_run(terms: SizingProblem, workers: int) -> UnfitSize | None:
    """Why so many workers are impossible and what to change; None if they are not."""
    found = problem(terms, workers)
    if found is None:
        return None
    if found.reason == Unfit.PARALLELISM:  # its sentence says what to change
        return found
    return UnfitSize(found.reason, f"{found.sentence} {_advice(terms, workers, found)}")


def _advice(terms: SizingProblem, workers: int, found: UnfitSize) -> str:
    here = _nearest(terms, workers)
    if here:
        return f"Set workers.replicas to {_choices(here)}."
    none = "No size from workers.min to workers.max works:"
    for change in _changes(terms, workers, found):
        sizes = _nearest(change.terms, workers)
        if not sizes:
            continue
        words = change.words.format(sizes=_choices(sizes))
        if workers not in sizes and words == change.words:
            words += f", and workers.replicas to {_choices(sizes)}"
        return f"{none} set {words}."
    batch = _batch(terms, workers)
    if batch:
        return f"{none} in a new TrainingJob, set batch.global to {batch}."
    return f"{none} change workers.ranksPerWorker or the parallelism."


def _changes(terms: SizingProblem, workers: int, found: UnfitSize) -> Iterator[Suggestion]:
    """The smallest change first."""
    if terms.micro:
        yield Suggestion(replace(terms, micro=0), "batch.micro to 0, which lets Preamar choose")
    if found.reason == Unfit.MEMORY and terms.of_product:
        yield from _larger(terms, workers)
    elif terms.limit is not None and found.reason == Unfit.MEMORY:
        need = BACKEND.lacking(terms, data_ranks(terms, workers)) or 0
        mebi = -(-need * terms.ranks_per_worker // 1024**2)
        words = f"workers.resources.limits.memory to {mebi}Mi or more"
        yield Suggestion(replace(terms, limit=need), words)
    yield Suggestion(replace(terms, least=1), "workers.min and workers.replicas to {sizes}")
    more = replace(terms, least=terms.most, most=MOST_WORKERS)
    yield Suggestion(more, "workers.max and workers.replicas to {sizes}")
    if terms.ranks_per_worker > 1:
        yield Suggestion(replace(terms, ranks_per_worker=1), "workers.ranksPerWorker to 1")


def _larger(terms: SizingProblem, workers: int) -> Iterator[Suggestion]:
    """What would fit on accelerators: more ZeRO, more workers, more memory."""
    for stage in range(terms.zero_stage + 1, 4 if terms.pipeline == 1 else 2):
        yield Suggestion(replace(terms, zero_stage=stage), f"parallelism.zeroStage to {stage}")
    need = BACKEND.lacking(terms, data_ranks(terms, workers)) or 0
    roomy = [device for device in CATALOGUE if device.memory >= need]
    if roomy:
        names = " or ".join(device.products[0] for device in roomy[:3])
        words = f"accelerator.products to {names}"
        yield Suggestion(replace(terms, limit=min(device.memory for device in roomy)), words)
    most = replace(terms, zero_stage=3 if terms.pipeline == 1 else 1)
    if most != terms:
        words = f"parallelism.zeroStage to {most.zero_stage}, and workers.max and workers.replicas"
        more = replace(most, least=terms.most, most=MOST_WORKERS)
        yield Suggestion(more, words + " to {sizes}")


def _nearest(terms: SizingProblem, workers: int) -> tuple[int, ...]:
    """The wanted size if it is valid, else the nearest below and above it that are."""
    if terms.least <= workers <= terms.most and problem(terms, workers) is None:
        return (workers,)
    sizes = valid(terms)
    below, above = [n for n in sizes if n < workers], [n for n in sizes if n > workers]
    return (*below[-1:], *above[:1])


def _choices(sizes: tuple[int, ...]) -> str:
    return " or ".join(str(n) for n in sizes)


def _batch(terms: SizingProblem, workers: int) -> int:
    """The nearest global batch that the wanted size could split; 0 where that is not the trouble."""
    unit = data_ranks(terms, workers) * (terms.micro or 1)
    batch = max(unit, round(terms.total / unit) * unit) if unit else 0
    return batch if batch and problem(replace(terms, total=batch), workers) is None else 0
