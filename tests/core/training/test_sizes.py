"""At which sizes a job can run, and what a user is told of those at which it cannot."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preamar.core.training.sizes import Split, cannot_split, split, valid_world_sizes
from tests.core.builders import a_job


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
    assert split(total, micro, ranks) == expected


@given(st.integers(1, 4096), st.integers(0, 64), st.integers(1, 64))
def test_a_split_keeps_the_global_batch(total, micro, ranks):
    found = split(total, micro, ranks)
    if found is not None:
        assert found.micro * found.accumulation * ranks == total
        assert micro in {0, found.micro}


def test_valid_sizes_are_in_ranks():
    job = a_job(batch={"global": 64}, workers={"replicas": 2, "max": 4, "ranksPerWorker": 2})
    assert valid_world_sizes(job.spec) == (2, 4, 8)


def test_an_impossible_size_names_the_nearest():
    job = a_job(batch={"global": 64}, workers={"replicas": 3, "max": 4})
    assert "Set workers.replicas to 2 or 4." in cannot_split(job.spec)


def test_where_no_size_works_a_batch_that_does_is_named():
    job = a_job(batch={"global": 7}, workers={"replicas": 3, "min": 2, "max": 4})
    assert "batch.global 6 would" in cannot_split(job.spec)
