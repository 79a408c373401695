"""Where nodes are taken away a job goes on with what is left, and grows again once they are back.

Holds: core/training/elastic/degraded_size.py, core/training/elastic/placeholder_pods.py,
core/training/elastic/resize.py, core/training/resizes.py
"""

import pytest

from preamar.core.plan import Plan, Ref
from tests.life.operator import SETTINGS, Operator
from tests.life.ranks import ATTEMPT, SCOUT
from tests.life.test_training import a_job, attempts
from tests.life.world import NAMESPACE, World, gone, kind_of, ref

CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "data", "namespace": NAMESPACE},
    "spec": {"accessModes": ["ReadWriteMany"]},
    "status": {"phase": "Bound", "accessModes": ["ReadWriteMany"]},
}


class Story:
    def __init__(self, replicas=2, steps=400, room=99):
        job = a_job()
        job["spec"]["workers"]["replicas"] = replicas
        self.world = World()
        self.world.steps_left, self.world.room = steps, room
        self.world.cluster.create(CLAIM)
        self.world.cluster.create(job)
        self.operator = Operator(self.world, "TrainingJob", "t")
        self.seen = []

    def goes_on(self, seconds, until=lambda _: False):
        """One pass a second; the last attempt's size whenever it has changed."""
        for _ in range(seconds):
            self.world.tick(1)
            self.operator.look()
            self.operator.passes()
            size = self.size
            if size and size != (self.seen or [0])[-1]:
                self.seen.append(size)
            if until(self):
                return

    @property
    def size(self):
        """The workers that train."""
        for job in reversed(attempts(self.world)):
            pods = [p for p in self.pods(ATTEMPT) if not gone(p)]
            size = job["spec"]["completions"]
            running = [p for p in pods if p["status"]["phase"] == "Running"]
            return size if len(running) == size else 0
        return 0

    def pods(self, label):
        return [p for p in self.world.live_pods() if label in p["metadata"]["labels"]]

    @property
    def status(self):
        return self.world.cluster.get(self.operator.ref)["status"]

    def told(self, kind):
        return next(c for c in self.status["conditions"] if c["type"] == kind)

    def drained(self, room):
        """A node is taken back: a worker is evicted, and only so many places are left."""
        self.world.room = room
        taken = self.pods(ATTEMPT)[-1]
        self.world.cluster.remove(ref(taken))


def a_drained_job(**how):
    story = Story(**how)
    story.goes_on(12)
    assert story.size == how.get("replicas", 2)
    return story


def test_after_a_drain_it_trains_on_with_the_places_that_are_left():
    story = a_drained_job()
    story.drained(room=1)
    story.goes_on(SETTINGS.gang_seconds + 20)
    assert story.seen == [2, 1]
    assert (story.told("Running")["status"], story.told("Running")["reason"]) == (
        "True",
        "FewerPlaces",
    )
    assert "1 of 2 workers" in story.told("Running")["message"]
    assert "Insufficient nvidia.com/gpu" in story.told("Running")["message"]
    assert story.status["gang"]["fits"] == 1


def test_it_looks_for_places_without_holding_any_and_grows_when_they_are_back():
    story = a_drained_job()
    story.drained(room=1)
    story.goes_on(SETTINGS.gang_seconds + 90)
    (scout,) = story.pods(SCOUT)
    assert scout["status"]["phase"] == "Pending"
    assert scout["spec"]["containers"][0]["command"] == ["sleep", "infinity"]
    story.world.room = 99
    story.goes_on(20)
    assert story.seen == [2, 1, 2]
    assert not story.pods(SCOUT)
    assert story.told("Running")["reason"] == "Training"
    assert "gang" not in story.status
    story.world.steps_left = 1
    story.goes_on(8)
    told = [(r["from"], r["to"], r["reason"], r["outcome"]) for r in story.status["resizes"]]
    assert told == [(1, 2, "PlacesFound", "Verified"), (2, 1, "PlacesLost", "Verified")]
    assert story.status["samples"]["skipped"] == story.status["samples"]["duplicated"] == 0


def test_it_takes_the_largest_size_it_can_run_with_and_not_any_number():
    story = a_drained_job(replicas=4)
    story.drained(room=3)
    story.goes_on(SETTINGS.gang_seconds + 20)
    assert story.seen == [4, 2]  # 16 samples cannot be split over 3


def test_places_that_are_no_use_to_it_are_given_back():
    story = a_drained_job(replicas=4)
    story.drained(room=3)
    story.goes_on(SETTINGS.gang_seconds + 75)
    held = [p for p in story.pods(SCOUT) if p["status"]["phase"] == "Running"]
    assert len(held) == 1  # one place more makes no size: 3 cannot be
    story.goes_on(SETTINGS.gang_seconds + 5)
    assert not story.pods(SCOUT)
    assert story.size == 2
    story.goes_on(60)
    assert not story.pods(SCOUT), "it must rest before it looks again"
    story.goes_on(70)
    assert story.pods(SCOUT)


def test_a_growth_whose_places_were_taken_ends_at_the_size_before():
    story = a_drained_job()
    story.drained(room=1)
    story.goes_on(SETTINGS.gang_seconds + 90)
    story.world.room = 2
    story.goes_on(20, until=lambda s: "preamar.dev/stop" in str(attempts(s.world)[-1]["metadata"]))
    story.world.room = 1
    story.goes_on(SETTINGS.gang_seconds + 30)
    assert story.seen == [2, 1]
    assert story.status["gang"]["incomplete"] == 2


def test_who_asks_for_less_meanwhile_gets_it_and_nothing_is_looked_for():
    story = a_drained_job(replicas=4)
    story.drained(room=2)
    story.goes_on(SETTINGS.gang_seconds + 90)
    assert story.pods(SCOUT)
    story.world.cluster.edit(story.operator.ref, lambda j: j["spec"]["workers"].update(replicas=2))
    story.goes_on(5)
    assert not story.pods(SCOUT)
    assert story.told("Running")["reason"] == "Training"


@pytest.mark.parametrize("change", [{"suspend": True}, {"workers": {"replicas": 1}}])
def test_scouts_end_with_what_they_looked_for(change):
    story = a_drained_job()
    story.drained(room=1)
    story.goes_on(SETTINGS.gang_seconds + 90)
    assert story.pods(SCOUT)

    def edited(job):
        for key, value in change.items():
            job["spec"][key] = {**job["spec"][key], **value} if isinstance(value, dict) else value

    story.world.cluster.edit(story.operator.ref, edited)
    story.goes_on(8)
    assert not story.pods(SCOUT)


def test_a_job_that_ends_meanwhile_leaves_nothing():
    story = a_drained_job(steps=90)
    story.drained(room=1)
    story.goes_on(SETTINGS.gang_seconds + 150)
    assert story.told("Succeeded")["status"] == "True"
    assert not story.world.live_pods()
    assert [j for j in attempts(story.world) if kind_of(j) == "Complete"]
    plan = story.operator.passes()
    assert plan == Plan(recheck_in=plan.recheck_in)


def test_a_job_with_one_size_waits_for_all():
    story = Story()
    job = Ref("preamar.dev/v1alpha1", "TrainingJob", NAMESPACE, "t")
    story.world.cluster.edit(job, lambda j: j["spec"]["workers"].update(min=2, max=2))
    story.goes_on(12)
    story.drained(room=1)
    story.goes_on(SETTINGS.gang_seconds + 20)
    assert story.seen == [2]
    assert story.told("Running")["reason"] == "GangIncomplete"
