"""The sequence of samples depends on nothing but seed, sources and number.

Holds: preamar_train/data/order.py
"""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from preamar_train.data.order import BLOCK, SampleOrder, of_rank, quotas

from tests.hunting import examples

names = st.text("abcdef", min_size=1, max_size=4)
weights = st.dictionaries(
    names, st.integers(1, 1000).map(lambda n: Decimal(n) / 100), min_size=1, max_size=6
)


@examples(40, 1000)
@given(weights)
def test_quotas_add_up_and_leave_no_source_out(given_weights):
    found = quotas(given_weights)
    total = sum(given_weights.values())
    assert sum(found.values()) == BLOCK
    assert all(found[name] >= 1 for name in given_weights)
    for name, weight in given_weights.items():
        assert abs(found[name] - weight * BLOCK / total) < 1 + len(given_weights)


def test_weights_in_whole_thousandths_are_kept_exactly():
    assert quotas({"a": Decimal("0.6"), "b": Decimal("0.399"), "c": Decimal("0.001")}) == {
        "a": 600,
        "b": 399,
        "c": 1,
    }


@examples(10, 300)
@given(weights, st.integers(0, 2**31), st.data())
def test_reading_from_any_place_gives_what_reading_from_the_start_gives(shares, seed, data):
    sizes = {name: data.draw(st.integers(1, 700)) for name in shares}
    start = data.draw(st.integers(0, 2500))
    whole = SampleOrder(seed, shares, sizes)
    straight = [whole[i] for i in range(start + 40)][start:]
    assert [SampleOrder(seed, shares, sizes)[i] for i in range(start, start + 40)] == straight


@examples(15, 300)
@given(st.integers(1, 900), st.integers(0, 2**31))
def test_every_sample_of_a_source_comes_once_an_epoch(size, seed):
    order = SampleOrder(seed, {"a": Decimal(1)}, {"a": size})
    for epoch in range(2):
        picks = [order[i] for i in range(epoch * size, (epoch + 1) * size)]
        assert {each.epoch for each in picks} == {epoch}
        assert sorted(each.sample for each in picks) == list(range(size))


def test_epochs_and_seeds_differ():
    def first(seed: int, epoch: int) -> list[int]:
        order = SampleOrder(seed, {"a": Decimal(1)}, {"a": 100})
        return [order[i].sample for i in range(epoch * 100, epoch * 100 + 100)]

    assert first(0, 0) != first(0, 1)
    assert first(0, 0) != first(1, 0)
    assert first(0, 0) != sorted(first(0, 0))


def test_the_order_is_the_one_of_every_version_before():
    # Golden: a change here would make resumed jobs repeat some samples and miss others.
    order = SampleOrder(7, {"a": Decimal("0.7"), "b": Decimal("0.3")}, {"a": 50, "b": 20})
    found = [(order[i].source, order[i].sample) for i in (0, 1, 2, 3, 999, 1000, 5000)]
    assert found == [("a", 40), ("a", 37), ("a", 18), ("a", 24), ("b", 12), ("a", 43), ("a", 4)]


@given(st.sampled_from([(1, 8), (2, 4), (4, 2), (8, 1)]), st.integers(1, 4), st.integers(0, 50))
def test_a_step_takes_the_same_samples_for_every_number_of_ranks(sizes, micro, step):
    world, accumulation = sizes
    taken = [
        index
        for turn in range(accumulation)
        for rank in range(world)
        for index in of_rank(
            step, turn, rank, world_size=world, micro=micro, accumulation=accumulation
        )
    ]
    total = 8 * micro
    assert taken == list(range(step * total, (step + 1) * total))
