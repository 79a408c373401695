"""Some workers find no accelerator, then there is room: one life of a job, told in order. It may not
run with fewer (those that may: test_places.py).

Holds: core/training/elastic/gang.py
"""

import pytest

from preamar.core.training.elastic import gang
from tests.life.test_training import TrainingLives


def waits_for_room(room_after):
    """A job of two workers with room for one, looked at every 15 s; then there is more room."""
    life = TrainingLives()
    life.begins(started=0, room=1)
    life.edit(lambda j: j["spec"]["workers"].update(min=2))
    life.all_goes_well(2)
    life.holds()
    for _ in range(6):
        life.pass_time(15)
        life.operator_passes(0)
        life.holds()
    life.world.room = room_after
    return life


def test_the_accelerator_of_the_one_that_started_is_free_and_the_job_ends_well_with_room():
    life = waits_for_room(room_after=1)
    assert life.world.live_pods() == []
    status = life.cluster.get(life.operator.ref)["status"]
    assert (status["gang"]["incomplete"], status["restarts"]) == (1, 0)
    life.settles()
    assert "gang" not in life.cluster.get(life.operator.ref)["status"]


def test_an_operator_that_lets_it_be_held_is_noticed(monkeypatch):
    monkeypatch.setattr(gang, "seconds_left", lambda observed, last: None)
    with pytest.raises(AssertionError, match="for nothing"):
        waits_for_room(room_after=99)
