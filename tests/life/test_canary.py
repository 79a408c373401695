"""Whatever happens meanwhile, a new revision ends by serving all where callers get from it what they
got before, and by serving nobody where they do not. Of the same model made otherwise they must get the
same answers; another model may give others.

Holds: core/serving/artifact/rollout.py, core/serving/canary/answer_comparison.py,
core/serving/canary/canary_analysis.py
"""

from dataclasses import replace
from json import loads

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from preamar.core.plan import Ref
from preamar.protocol.canary import AnswerDifferences, RevisionCounts, Trial
from preamar.protocol.sequential_test import NOTHING, grown
from tests.life.machine import LIVES, Lives
from tests.life.test_serving import a_service
from tests.life.world import NAMESPACE, gone, ready, ref

DEPLOYMENT = Ref("apps/v1", "Deployment", NAMESPACE, "m-serve")
CANARY = Ref("apps/v1", "Deployment", NAMESPACE, "m-canary")
REVISION, ROLE = "preamar.dev/revision", "preamar.dev/role"
A_SECOND = 10
"""Requests that each ready replica answers in a second; all of them are compared."""
FAR, NEAR = 5.0, 0.2
"""How far answers are apart, as parts of what is allowed."""
UNCOUNTED = (RevisionCounts(), RevisionCounts(), AnswerDifferences())


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
        self.counted, self.on_trial = UNCOUNTED, None
        self.served, self.untried = [("one", "")], False
        self.all_goes_well(4 + well)

    @rule(seconds=st.sampled_from([1, 5, 11]))
    def time_passes(self, seconds):
        self.pass_time(seconds)

    @rule(path=st.sampled_from(["one", "two", "three", "bad", "worse"]))
    def user_changes_the_model(self, path):
        self.edit(lambda s: s["spec"]["model"].update(uri=f"pvc://models/{path}"))

    @rule(making=st.sampled_from(["", "alike", "otherwise", "otherwise"]))
    def user_changes_how_it_is_made(self, making):
        env = [{"name": "MADE", "value": making}]
        self.edit(lambda s: s["spec"].update(runtime={"env": env if making else []}))

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
        self.counted = UNCOUNTED

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
        """By each revision as its model is; gateways count as long as status says that it is on
        trial, and nobody is told of answers of what does not run."""
        told = self.cluster.get(self.operator.ref).get("status", {}).get("rollout", {})
        on_trial = told.get("revision") if told.get("phase") == "Trying" else None
        if on_trial != self.on_trial:
            self.on_trial, self.counted = on_trial, UNCOUNTED
        deployment = self.cluster.get(DEPLOYMENT)
        labelled = [(p, p["metadata"]["labels"]) for p in self.ready_pods()]
        tried = [p for p, told in labelled if ROLE in told and told[REVISION] == on_trial]
        if tried and deployment:
            before, now = model_of(deployment["spec"]["template"]), model_of(tried[0])
            asked = A_SECOND * seconds
            failures = asked // 2 if now[0] in {"bad", "worse"} else 0
            old, new, apart = self.counted
            found = differences(asked, NEAR if alike(before, now) else FAR)
            self.counted = (
                old.plus(RevisionCounts(asked)),
                new.plus(RevisionCounts(asked, failures)),
                apart.plus(found),
            )
        trials = (Trial(on_trial, *self.counted),) if on_trial else ()
        self.operator.demand = replace(self.operator.demand, trials=trials)

    def ready_pods(self):
        return [p for p in self.world.select("Pod") if ready(p) and not gone(p)]

    def watched(self):
        """Which models have served all, in order."""
        deployment = self.cluster.get(DEPLOYMENT)
        if deployment is None:
            return
        model = model_of(deployment["spec"]["template"])
        if model != self.served[-1]:
            self.served.append(model)

    def settles(self):
        self.the_volume_comes()
        self.rests()
        self.judge()

    def judge(self):
        """The oracle: it knows which models are bad or answer alike, and none of our decisions."""
        service = self.cluster.get(self.operator.ref)
        spec, status = service["spec"], service["status"]
        told = {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}
        made = [e["value"] for e in spec.get("runtime", {}).get("env", [])]
        wish = spec["model"]["uri"].removeprefix("pvc://models/"), "".join(made)
        serves = model_of(self.cluster.get(DEPLOYMENT)["spec"]["template"])
        bad = wish[0] in {"bad", "worse"}
        assert CANARY not in self.cluster.objects
        assert not [p for p in self.world.live_pods() if ROLE in p["metadata"]["labels"]]
        pods = self.ready_pods()
        assert len(pods) == spec["replicas"]
        assert {model_of(p) for p in pods} == {serves}
        if spec["rollout"]["strategy"] == "Rolling":
            assert serves == wish
        elif serves != wish:
            assert bad or otherwise_made(serves, wish), f"{wish} should serve all"
            reasons = {"FailsMoreOften"} if bad else set()
            reasons |= {"AnswersDiffer"} if otherwise_made(serves, wish) else set()
            assert told["RolledOut"][0] == "False"
            assert told["RolledOut"][1] in reasons
            assert serves in self.served
        else:
            assert told["RolledOut"][0] == "True"
            assert not bad or self.untried, f"{wish} serves all, though it was tried"
            before = next((m for m in reversed(self.served) if m != serves), serves)
            assert self.untried or not otherwise_made(before, wish), f"{wish} serves after {before}"


def model_of(template):
    """Which model a pod serves, and how it is made."""
    order = loads(template["spec"]["initContainers"][0]["env"][0]["value"])
    env = template["spec"]["containers"][0]["env"]
    made = [e["value"] for e in env if e["name"] == "MADE"]
    return order["source"].removeprefix("/mnt/model/"), "".join(made)


def alike(one, other):
    """Whether callers get the same numbers from both."""
    return (one[0], one[1] == "otherwise") == (other[0], other[1] == "otherwise")


def otherwise_made(one, other):
    """Whether both are the same model, and callers get other numbers all the same."""
    return one[0] == other[0] and not alike(one, other)


def differences(count, each):
    bets = NOTHING
    for _ in range(count):
        bets = grown(bets, each)
    return AnswerDifferences(count, count * each, bets)


CanaryLives.TestCase.settings = LIVES
test_a_revision_is_promoted_or_serves_nobody = CanaryLives.TestCase
