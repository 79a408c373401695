"""Every sample is taken once, in one order, whatever reads it and however far ahead.

Holds: preamar_train/data/ahead.py, preamar_train/pace/waits.py, preamar_train/start/batches.py
"""

import json
import threading
import time
from decimal import Decimal
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from preamar_train.data import ahead as aheads
from preamar_train.data.ahead import ReadAhead
from preamar_train.data.corpus import opened
from preamar_train.data.order import BLOCK, SampleOrder
from preamar_train.failures import TrainerFailure
from preamar_train.pace.waits import Waits
from preamar_train.parallel.layout import Layout
from preamar_train.request import parse
from preamar_train.start.batches import Batches

from tests.hunting import examples
from tests.workloads.deepspeed.corpora import written
from tests.workloads.deepspeed.orders import order

SEQUENCE = 16


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    written(folder, {"large": (50_000, 100), "small": (700, 100)})
    return opened(folder, SEQUENCE)


def request(world: int, micro: int, steps: int = 6):
    words = order(
        batch={"global": 8, "micro": micro, "accumulation": 8 // micro // world},
        data__sources=[
            {"name": "large", "path": "/x", "weight": "0.25"},
            {"name": "small", "path": "/y", "weight": "0.75"},
        ],
        steps=steps,
    )
    return parse(json.dumps(words), world)


def taken(corpus, world: int, micro: int, ahead: int, first: int = 0, last: int = 6):
    """The rows of each step in the order of their numbers, over all ranks."""
    asked = request(world, micro)
    ranks = [Batches(asked, corpus, Layout(rank, world), ahead) for rank in range(world)]
    found = []
    for step in range(first, last):
        turns = [list(each.of_step(step)) for each in ranks]
        rows = [row for turn in zip(*turns, strict=True) for part in turn for row in part]
        found.append(np.stack(rows))
    for each in ranks:
        each.close()
    return found


SIZES = st.sampled_from([(1, 8), (1, 1), (2, 4), (2, 2), (4, 2), (4, 1), (8, 1)])


@examples(12, 300)
@given(SIZES, st.integers(1, 9), st.integers(0, 5))
def test_ranks_and_reading_ahead_and_a_restart_change_no_sample(corpus, sizes, ahead, first):
    straight = taken(corpus, 1, 8, 1)
    found = taken(corpus, *sizes, ahead, first)
    assert len(found) == 6 - first
    for ours, theirs in zip(found, straight[first:], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_sources_of_very_different_size_are_mixed_by_weight_to_the_sample(corpus):
    weights = {"large": Decimal("0.25"), "small": Decimal("0.75")}
    order = SampleOrder(0, weights, corpus.sizes())
    assert corpus.sizes() == {"large": 3124, "small": 43}
    for block in range(3):
        picks = [order[block * BLOCK + i].source for i in range(BLOCK)]
        assert (picks.count("large"), picks.count("small")) == (250, 750)
    seen = {order[i].sample for i in range(BLOCK) if order[i].source == "small"}
    assert seen == set(range(43))


def test_reading_ahead_is_bounded_and_stops_after_the_last_step():
    made, proceed = [], threading.Event()

    def things():
        for number in range(100):
            made.append(number)
            yield number
        proceed.set()

    ahead = ReadAhead(things, 3)
    deadline = time.monotonic() + 60
    while len(made) < 4:  # three are ready, one waits for room
        assert time.monotonic() < deadline
        time.sleep(0.001)
    time.sleep(0.02)
    assert len(made) == 4
    assert [ahead.next() for _ in range(100)] == list(range(100))
    assert proceed.wait(5)
    for _ in range(2):
        with pytest.raises(StopIteration):
            ahead.next()
    ahead.close()


def test_an_error_in_reading_comes_where_its_sample_is_asked_for_and_not_before(tmp_path):
    written(tmp_path, {"large": (3000, 100), "small": (700, 100)})
    sound = opened(tmp_path, SEQUENCE)
    count = sum(1 for step in taken(sound, 1, 8, 1) for _ in step)
    assert count == 48
    (tmp_path / "small.train.00000.tokens").write_bytes(b"")
    batches = Batches(request(1, 1), opened(tmp_path, SEQUENCE), Layout(0, 1), ahead=40)
    good = []
    with pytest.raises(TrainerFailure, match="has fewer than its 1,400 bytes"):
        good.extend(batches.of_step(0))
    weights = {"large": Decimal("0.25"), "small": Decimal("0.75")}
    picks = [SampleOrder(0, weights, sound.sizes())[i].source for i in range(8)]
    assert len(good) == picks.index("small")
    batches.close()


def test_time_that_the_loop_waits_is_counted_and_time_that_it_computes_is_not(monkeypatch):
    now, asked, read = [0.0], threading.Event(), threading.Event()

    def looked() -> float:
        asked.set()
        return now[0]

    def slowly():
        assert asked.wait(60)  # the loop is there before the first thing is
        now[0] += 7
        yield 0
        yield 1
        yield 2
        read.set()

    monkeypatch.setattr(aheads, "time", SimpleNamespace(monotonic=looked))
    ahead = ReadAhead(slowly, 3)
    ahead.next()
    assert ahead.waited == 7
    assert read.wait(60)  # the rest is read while the loop computes
    now[0] += 100
    assert [ahead.next(), ahead.next()] == [1, 2]
    assert ahead.waited == 7
    ahead.close()


def test_the_ratio_is_of_the_slowest_rank_over_the_last_half_minute():
    now = [0.0]
    waits = Waits(1, 2, clock=lambda: now[0])
    assert waits.mine(0.5) == [0.0, 0.5]

    def step(seconds: float, *waited: float):
        now[0] += seconds
        return waits.ratio(waited)

    assert [step(1, 0.5, 0.0) for _ in range(3)] == [None, None, None]
    assert step(1, 0.0, 0.5) == pytest.approx(0.5)
    now[0] += 100  # a checkpoint
    waits.paused()
    assert step(1, 0.0, 0.5) == pytest.approx(0.5)
    for _ in range(40):
        last = step(1, 0.1, 0.0)
    assert last == pytest.approx(0.1)
