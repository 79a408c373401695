"""Long work at the start is waited for by all ranks, and its failure is known to all.

Holds: preamar_train/ranks/once_per_pod.py
"""

import threading
import time

import pytest
from preamar_train.data.documents import no_data
from preamar_train.failures import Class, TrainerFailure
from preamar_train.ranks.once_per_pod import once_a_pod


class Ranks:
    """Ranks as threads that exchange words in lockstep, two to a pod."""

    def __init__(self, size):
        self.barrier = threading.Barrier(size)
        self.said = [None] * size
        self.results = [None] * size

    def run(self, work, **more):
        def one(rank):
            try:
                once_a_pod(Rank(self, rank), lambda: work(rank), lambda: None, **more)
                self.results[rank] = "ready"
            except TrainerFailure as failure:
                self.results[rank] = (failure.kind, failure.sentence)

        threads = [threading.Thread(target=one, args=(rank,)) for rank in range(len(self.said))]
        for each in threads:
            each.start()
        for each in threads:
            each.join(20)
            assert not each.is_alive()
        return self.results


class Rank:
    def __init__(self, ranks, rank):
        self._ranks, self._rank = ranks, rank
        self.local_rank = rank % 2

    def hear(self, thing):
        self._ranks.said[self._rank] = thing
        self._ranks.barrier.wait(10)
        heard = list(self._ranks.said)
        self._ranks.barrier.wait(10)
        return heard


def test_all_ranks_wait_for_the_slowest_pod_and_one_rank_a_pod_works():
    worked = []

    def work(rank):
        time.sleep(0.4 if rank else 0)
        worked.append(rank)

    assert Ranks(4).run(work) == ["ready"] * 4
    assert sorted(worked) == [0, 2]


def test_a_failure_of_one_pod_is_raised_in_all_ranks():
    def work(rank):
        if rank == 2:
            raise no_data("The text is gone.")
        time.sleep(0.1)

    assert set(Ranks(4).run(work)) == {(Class.DATA_ERROR, "The text is gone.")}


def test_work_that_never_ends_is_given_up():
    stop = threading.Event()
    try:
        (told,) = set(Ranks(2).run(lambda _rank: stop.wait(15), limit=0.3))
    finally:
        stop.set()
    assert told[0] is Class.UNKNOWN
    assert "was not ready" in told[1]


def test_a_failure_can_be_sent_to_another_process():
    import pickle

    found = pickle.loads(pickle.dumps(no_data("No text.")))
    assert (found.kind, found.sentence) == (Class.DATA_ERROR, "No text.")


@pytest.fixture(autouse=True)
def _no_warnings(recwarn):
    yield
    assert not [w for w in recwarn if "thread" in str(w.message).lower()]
