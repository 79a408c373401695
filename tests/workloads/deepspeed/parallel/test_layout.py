"""Where ranks stand, against a list of all places.

Holds: preamar_train/parallel/layout.py
"""

from itertools import product

import pytest
from preamar_train.parallel.layout import Layout

SPLITS = [
    (tensor, pipeline, data)
    for tensor, pipeline, data in product((1, 2, 4), (1, 2, 3), (1, 2, 3, 4))
]


@pytest.mark.parametrize(("tensor", "pipeline", "data"), SPLITS)
def test_every_place_has_one_rank_and_neighbours_share_a_layer(tensor, pipeline, data):
    size = tensor * pipeline * data
    ranks = [Layout(rank, size, tensor, pipeline) for rank in range(size)]
    places = [(each.stage, each.replica, each.slice) for each in ranks]
    assert places == list(product(range(pipeline), range(data), range(tensor)))
    assert {each.data for each in ranks} == {data}
    assert all(each.at(each.stage, each.replica, each.slice) == each.rank for each in ranks)


@pytest.mark.parametrize(("tensor", "pipeline", "data"), SPLITS)
def test_one_rank_of_each_copy_reads_and_one_judges(tensor, pipeline, data):
    size = tensor * pipeline * data
    ranks = [Layout(rank, size, tensor, pipeline) for rank in range(size)]
    assert [each.replica for each in ranks if each.reads] == list(range(data))
    assert [each.replica for each in ranks if each.judges] == list(range(data))
    assert all(each.stage == pipeline - 1 for each in ranks if each.judges)


def test_experts_are_shared_by_neighbouring_copies():
    assert [Layout(rank, 4, expert=2).experts for rank in range(4)] == [0, 1, 0, 1]
