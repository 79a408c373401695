"""Whatever happens meanwhile, a new revision ends by serving all where callers get from it what they
got before, and by serving nobody where they do not.
"""

from dataclasses import replace
from json import loads

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from preamar.core.plan import Ref
from preamar.core.serving.trial import Side, Trial
from tests.life.machine import LIVES, Lives
from tests.life.test_serving import a_service
from tests.life.world import NAMESPACE, gone, ready, ref

DEPLOYMENT = Ref("apps/v1", "Deployment", NAMESPACE, "m-serve")
CANARY = Ref("apps/v1", "Deployment", NAMESPACE, "m-canary")
REVISION, ROLE = "preamar.dev/revision", "preamar.dev/role"
A_SECOND = 10
"""Requests that each ready replica answers in a second."""


def tried_service():
    service = a_service()
    service["spec"]["scaling"] = {"mode": "Managed", "min": 2, "max": 4}
    service["spec"]["replicas"] = 2
    canary = {"percent": 25, "intervalSeconds": 10, "steps": 2}
    service["spec"]["rollout"] = {"strategy": "Canary", "canary": canary}
    return service


class CanaryLives(Lives):
    volume = "models"
    # Each step takes 10 s; a wish may have begun anew just before it is quiet.
    quiet = (1, 1, 1, 1, *(11, 1, 1, 1) * 6, 1, 1, 1, 1)

    @initialize(well=st.integers(0, 4))
    def begins(self, well):
        self.start(tried_service())
        self.counted, self.served, self.untried = {}, ["one"], False
        self.all_goes_well(4 + well)

    @rule(seconds=st.sampled_from([1, 5, 11]))
    def time_passes(self, seconds):
        self.pass_time(seconds)

    @rule(path=st.sampled_from(["one", "two", "three", "bad", "worse"]))
    def user_changes_the_model(self, path):
        self.edit(lambda s: s["spec"]["model"].update(uri=f"pvc://models/{path}"))

    @rule(strategy=st.sampled_from(["Canary", "Canary", "Rolling"]))
    def user_changes_the_strategy(self, strategy):
        self.untried = self.untried or strategy == "Rolling"
        self.edit(lambda s: s["spec"]["rollout"].update(strategy=strategy))

    @rule(in_flight=st.sampled_from([None, 0, 17, 30]))
    def demand_changes(self, in_flight):
        self.operator.demand = replace(self.operator.demand, in_flight=in_flight)

    @rule()
    def gateways_start_anew(self):
        """What they counted is gone."""
        self.counted = {}

    @rule()
    def stranger_deletes_the_canary(self):
        if CANARY in self.cluster.objects:
            self.cluster.remove(CANARY)

    @rule()
    def somebody_deletes_a_pod(self):
        for pod in self.world.select("Pod")[-1:]:
            self.cluster.remove(ref(pod))

    def pass_time(self, seconds):
        self.world.tick(seconds)
        self.callers_are_answered(max(1, seconds))
        self.operator.look()

    def callers_are_answered(self, seconds):
        """By each revision as its model is; nobody is told of answers of what does not run."""
        tried = {}
        for pod in self.ready_pods():
            if ROLE in pod["metadata"]["labels"]:
                tried[pod["metadata"]["labels"][REVISION]] = path_of(pod)
        for revision, path in tried.items():
            old, new = self.counted.get(revision, (Side(), Side()))
            asked = A_SECOND * seconds
            failures = asked // 2 if path in {"bad", "worse"} else 0
            self.counted[revision] = (old.plus(Side(asked)), new.plus(Side(asked, failures)))
        trials = tuple(Trial(name, *sides) for name, sides in self.counted.items())
        self.operator.demand = replace(self.operator.demand, trials=trials)

    def ready_pods(self):
        return [p for p in self.world.select("Pod") if ready(p) and not gone(p)]

    @invariant()
    def somebody_serves_once_somebody_has(self):
        if not hasattr(self, "world"):
            return
        deployment = self.cluster.get(DEPLOYMENT)
        if deployment is None:
            return
        path = path_of(deployment["spec"]["template"])
        if path != self.served[-1]:
            self.served.append(path)

    def settles(self):
        self.the_volume_comes()
        self.rests()
        self.judge()

    def judge(self):
        """The oracle: it knows which models are bad, and none of our decisions."""
        service = self.cluster.get(self.operator.ref)
        spec, status = service["spec"], service["status"]
        told = {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}
        wish = spec["model"]["uri"].removeprefix("pvc://models/")
        serves = path_of(self.cluster.get(DEPLOYMENT)["spec"]["template"])
        assert CANARY not in self.cluster.objects
        assert not [p for p in self.world.live_pods() if ROLE in p["metadata"]["labels"]]
        pods = self.ready_pods()
        assert len(pods) == spec["replicas"]
        assert {path_of(p) for p in pods} == {serves}
        if spec["rollout"]["strategy"] == "Rolling":
            assert serves == wish
        elif wish not in {"bad", "worse"}:
            assert (serves, told["RolledOut"][0]) == (wish, "True")
        elif serves != wish:
            assert told["RolledOut"] == ("False", "FailsMoreOften")
            assert serves in self.served
        else:
            assert self.untried, f"{wish} serves all, though it was tried"


def path_of(template):
    order = loads(template["spec"]["initContainers"][0]["env"][0]["value"])
    return order["source"].removeprefix("/mnt/model/")


CanaryLives.TestCase.settings = LIVES
test_a_revision_is_promoted_or_serves_nobody = CanaryLives.TestCase
