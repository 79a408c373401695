"""Whatever happens to replicas of several pods, each leader has its workers in the end, and no more.

Holds: core/serving/groups/gang.py, core/serving/groups/members.py, core/serving/pods/group.py
"""

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.life.machine import LIVES
from tests.life.test_serving import STRANGERS, ServingLives, a_service
from tests.life.world import gone, owned_by, ready, ref

WORKS, LEADS = "preamar.dev/works-for", "preamar.dev/inferenceservice"
REVISION = "preamar.dev/revision"


def grouped_service():
    service = a_service()
    service["spec"]["parallelism"] = {"nodes": 3, "pipeline": 3}
    return service


class GroupLives(ServingLives):
    # Leaders are ready later than replicas of one pod, and what starts slowly sleeps late.
    quiet = (1, 1, 1, *ServingLives.quiet, 1, 1900, 1, 1, 70, 1, 1)

    def start(self, _resource, *others):
        super().start(grouped_service(), *others)

    @rule(which=st.integers(0, 5))
    def a_worker_dies(self, which):
        for pod in self.labelled(WORKS)[which : which + 1]:
            self.cluster.remove(ref(pod))

    @rule()
    def stranger_deletes_the_workers_of_a_leader(self):
        for each in self.world.select("StatefulSet")[:1]:
            self.cluster.remove(ref(each))

    def watched(self):
        """Workers are of the revision of their leader."""
        for leader in self.labelled(LEADS):
            for own in self.world.select("StatefulSet"):
                if owned_by(own, leader):
                    made = own["spec"]["template"]["metadata"]["labels"]
                    assert made[REVISION] == leader["metadata"]["labels"][REVISION]

    def labelled(self, label):
        return [p for p in self.world.live_pods() if label in p["metadata"]["labels"]]

    def judge(self):
        """As for replicas of one pod, of leaders; and each is a whole."""
        pods = self.world.live_pods
        leaders = self.labelled(LEADS)
        workers = self.labelled(WORKS)
        self.world.live_pods = lambda: leaders
        try:
            super().judge()
        finally:
            self.world.live_pods = pods
        if self.impossible():
            return
        sets = [s for s in self.world.select("StatefulSet") if not gone(s)]
        assert len(sets) == len(leaders)
        for leader in leaders:
            (own,) = [s for s in sets if owned_by(s, leader)]
            mine = [w for w in workers if owned_by(w, own)]
            assert len(mine) == 2
            revisions = {p["metadata"]["labels"][REVISION] for p in (leader, *mine)}
            assert len(revisions) == 1
            assert ready(leader)
        assert len(workers) == 2 * len(leaders)
        assert self.cluster.get(ref(STRANGERS)) is not None


GroupLives.TestCase.settings = LIVES
test_each_leader_has_its_workers_and_no_more = GroupLives.TestCase
