"""The lattice of sizes against a checker that knows only the rules, for every small combination.

The checker lays the ranks out and counts them; it shares no arithmetic with the planner. A grid
must be filled by whole pipelines of whole tensor groups, experts' groups must fill each stage, and
a step must be dealt out in equal micro batches until the global batch is used up.

Holds: core/training/planner/parallelism.py, core/training/planner/sizes.py
"""

from functools import cache
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from preamar.api.recipe import Offload
from preamar.core.training.backends.deepspeed.parallelism import fixed
from preamar.core.training.backends.shapes import PRESETS
from preamar.core.training.backends.sizing_problem import SizingProblem
from preamar.core.training.planner import sizes

WAYS = (1, 2, 4, 8)
MOST = 16


@cache
def laid_out(world, tensor, pipeline):
    """The ranks of each stage, or None if some rank has no place; DeepSpeed's order: stages are
    runs of ranks, and in a stage each run of ``tensor`` ranks shares a layer."""
    ranks, stages = list(range(world)), [[] for _ in range(pipeline)]
    while ranks:
        for stage in stages:
            group, ranks = ranks[:tensor], ranks[tensor:]
            if len(group) < tensor:
                return None
            stage.append(group)
    return tuple(tuple(rank for group in stage for rank in group) for stage in stages)


@cache
def experts_fit(stages, expert):
    for stage in stages:
        left = list(stage)
        while left:
            group, left = left[:expert], left[expert:]
            if len(group) < expert:
                return False
    return True


@cache
def dealt_out(total, data, micro):
    """Whether rounds of equal micro batches can use up exactly the global batch."""
    for each in [micro] if micro else range(1, total + 1):
        used = 0
        while used < total:
            used += each * data
        if used == total:
            return True
    return False


def allowed(total, micro, world, tensor, pipeline, expert):
    stages = laid_out(world, tensor, pipeline)
    if stages is None or not experts_fit(stages, expert):
        return False
    return dealt_out(total, len(stages[0]) // tensor, micro)


def supported(tensor, pipeline, expert, zero):
    """What DeepSpeed supports at all: no pipeline of divided gradients; experts with tensor
    parallelism only without a pipeline and without ZeRO 3."""
    if pipeline > 1:
        return zero in {0, 1} and not (tensor > 1 and expert > 1)
    return zero != 3 or tensor == 1 or expert == 1


def test_every_small_combination_is_judged_as_the_rules_say():
    seen = {True: 0, False: 0}
    for tensor, pipeline, expert in product(WAYS, WAYS, WAYS):
        if not supported(tensor, pipeline, expert, 1):
            continue
        judge = {
            (total, micro, world): allowed(total, micro, world, tensor, pipeline, expert)
            for total in range(1, 65)
            for micro in (0, 1, 2, 3, 4, 8)
            for world in range(1, MOST + 1)
        }
        for (total, micro), worlds in by_batch(judge).items():
            terms = SizingProblem(
                total, micro, most=MOST, tensor=tensor, pipeline=pipeline, expert=expert
            )
            found = set(sizes.valid(terms))
            assert found == worlds, (terms, found ^ worlds)
            for verdict in (True, False):
                seen[verdict] += len(worlds) if verdict else MOST - len(worlds)
    assert min(seen.values()) > 1000


def by_batch(judge):
    worlds = {}
    for (total, micro, world), good in judge.items():
        worlds.setdefault((total, micro), set()).update({world} if good else ())
    return worlds


def test_what_deepspeed_does_not_support_has_no_size():
    for tensor, pipeline, expert, zero in product(WAYS, WAYS, WAYS, range(4)):
        terms = SizingProblem(
            64, most=64, tensor=tensor, pipeline=pipeline, expert=expert, zero_stage=zero
        )
        assert bool(sizes.valid(terms)) == supported(tensor, pipeline, expert, zero), terms


def test_several_ranks_in_a_worker_only_thin_the_lattice():
    for total, ranks, tensor, pipeline in product((24, 60, 64), range(1, 7), (1, 2, 4), (1, 2, 3)):
        terms = SizingProblem(
            total, most=12, ranks_per_worker=ranks, tensor=tensor, pipeline=pipeline
        )
        want = {n for n in range(1, 13) if allowed(total, 0, n * ranks, tensor, pipeline, 1)}
        assert set(sizes.valid(terms)) == want, terms


SHAPES = st.sampled_from([None, *PRESETS.values()])
TERMS = st.builds(
    SizingProblem,
    total=st.integers(1, 512),
    micro=st.sampled_from([0, 0, 0, 1, 2, 3, 16]),
    least=st.integers(1, 3),
    most=st.integers(3, 24),
    ranks_per_worker=st.integers(1, 4),
    tensor=st.sampled_from([1, 1, 2, 4]),
    pipeline=st.sampled_from([1, 1, 2, 3]),
    expert=st.sampled_from([1, 1, 2]),
    zero_stage=st.integers(0, 3),
    offload=st.sampled_from(list(Offload)),
    element=st.sampled_from([2, 4]),
    shape=SHAPES,
    limit=st.one_of(st.none(), st.integers(1, 10**10)),
    on_cpu=st.booleans(),
)


@given(TERMS)
def test_scaling_within_the_lattice_never_changes_the_global_batch(terms):
    for workers in sizes.valid(terms):
        step = sizes.split(terms, workers)
        ranks = workers * terms.ranks_per_worker
        data = ranks // terms.tensor // terms.pipeline
        assert data * terms.tensor * terms.pipeline == ranks
        assert step.micro * step.accumulation * data == terms.total
        assert min(step) >= 1
        assert terms.micro in {0, step.micro}


@given(TERMS)
def test_a_size_is_split_only_if_it_is_valid(terms):
    for workers in range(terms.least, terms.most + 1):
        assert (sizes.split(terms, workers) is not None) == (workers in sizes.valid(terms))


@given(TERMS, st.integers(1, 24), st.booleans())
def test_a_scale_is_offered_only_what_is_valid(terms, workers, started):
    told = sizes.world_sizes(terms, workers, started=started)
    if not (started and fixed(terms)):
        assert set(told) <= {n * terms.ranks_per_worker for n in sizes.valid(terms)}
    assert list(told) == sorted(set(told))
