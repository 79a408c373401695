"""Whatever happens to it, an inference service becomes what its user asked for, and stays so.

Holds: core/needs_apply.py, core/serving/reconcile.py, core/serving/step.py,
core/serving/sizing/size.py
"""

from dataclasses import replace
from math import ceil

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from preamar.core.plan import Ref
from preamar.protocol.demand import Carried
from tests.life.machine import LIVES, Lives
from tests.life.operator import Operator
from tests.life.world import NAMESPACE, alive, gone, ready, ref

CHILDREN = [
    Ref("apps/v1", "Deployment", NAMESPACE, "m-serve"),
    Ref("v1", "Service", NAMESPACE, "m-serve"),
    Ref("policy/v1", "PodDisruptionBudget", NAMESPACE, "m-serve"),
]
STRANGERS = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "other-serve", "namespace": NAMESPACE},
    "spec": {"replicas": 0, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {}}},
}

WORK = st.lists(st.integers(0, 3), min_size=4, max_size=9)


def a_service():
    return {
        "apiVersion": "preamar.dev/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"name": "m", "namespace": NAMESPACE},
        "spec": {
            "model": {"uri": "pvc://models/one"},
            "accelerator": {"type": "CPU"},
            "replicas": 1,
            "scaling": {"mode": "Managed", "min": 0, "max": 4, "idleSeconds": 40},
        },
    }


class ServingOperator(Operator):
    def passes(self, late=0, dies_in=None):
        """As any operator; when it has made the Deployment smaller, the work that this costs is
        weighed at once, before work or pods change again."""
        size, here = self.size(), self.standing()
        plan = super().passes(late, dies_in)
        if not late and self.size() < size:
            self.world.tick(0)
            self.weigh(here, self.standing())
        return plan

    def size(self):
        deployment = self.world.cluster.get(CHILDREN[0])
        return deployment["spec"]["replicas"] if deployment else 0

    def standing(self):
        """Pods that count, by name: what they were made from, since sets of pods shrink apart,
        whether they are ready, and their tokens."""
        return {
            pod["metadata"]["name"]: (
                (pod["metadata"]["labels"]["preamar.dev/revision"], pod["spec"]),
                ready(pod),
                self.demand.pods.get(pod["status"].get("podIP"), Carried()).tokens_left,
            )
            for pod in self.world.select("Pod")
            if alive(pod) and not gone(pod)
        }

    def weigh(self, before, after):
        """Of pods that are alike none with more to do went while one with less stayed."""
        for name in before.keys() - after.keys():
            *like, lost = before[name]
            for kept in before.keys() & after.keys():
                *other, left = before[kept]
                assert like != other or lost <= left, f"{name} of {lost} went, {kept} of {left} not"


class ServingLives(Lives):
    operates = ServingOperator
    volume = "models"
    quiet = (1, 1, 1, 70, 1, 70, 1, 1, 70)

    @initialize()
    def begins(self):
        self.start(a_service(), STRANGERS)

    @rule(seconds=st.sampled_from([1, 5, 31, 61]))
    def time_passes(self, seconds):
        self.pass_time(seconds)

    @rule(in_flight=st.sampled_from([None, 0, 1, 9, 17, 100]))
    def demand_changes(self, in_flight):
        demand = self.operator.demand
        self.operator.demand = replace(demand, in_flight=in_flight)

    @rule(tokens=WORK)
    def replicas_get_and_finish_work(self, tokens):
        pods = [f"ip-of-{p['metadata']['name']}" for p in self.world.live_pods()]
        loads = {ip: Carried(1, left) for ip, left in zip(pods, tokens, strict=False)}
        self.operator.demand = replace(self.operator.demand, pods=loads)

    @rule(size=st.integers(1, 3), first=WORK, then=WORK, writes=st.sampled_from([1, 2, None]))
    def busy_replicas_become_fewer(self, size, first, then, writes):
        """Somebody asks for four and then for fewer; the operator may die over that, and by the
        time it is back the work has moved."""
        self.edit(
            lambda s: s["spec"].update(replicas=4) or s["spec"]["scaling"].update(mode="External")
        )
        self.all_goes_well(4)
        self.edit(lambda s: s["spec"].update(replicas=size))
        self.replicas_get_and_finish_work(first)
        self.operator_dies_midway(writes)
        self.replicas_get_and_finish_work(then)
        self.operator_passes(0)

    @rule(path=st.sampled_from(["one", "two", "three"]))
    def user_changes_the_model(self, path):
        self.edit(lambda s: s["spec"]["model"].update(uri=f"pvc://models/{path}"))

    @rule(mode=st.sampled_from(["Managed", "External", "Fixed"]), low=st.integers(0, 2))
    def user_changes_the_scaling(self, mode, low):
        self.edit(lambda s: s["spec"]["scaling"].update(mode=mode, min=low))

    @rule(replicas=st.integers(0, 3))
    def user_writes_a_size(self, replicas):
        self.edit(lambda s: s["spec"].update(replicas=replicas))

    @rule(broken=st.booleans())
    def user_asks_for_what_is_not_there(self, broken):
        kind = "Rack" if broken else "None"
        self.edit(lambda s: s["spec"].update(placement={"topology": kind}))

    @rule(which=st.sampled_from(range(len(CHILDREN))))
    def stranger_deletes_a_child(self, which):
        child = CHILDREN[which]
        if child in self.cluster.objects:
            self.cluster.remove(child)

    @rule()
    def stranger_resizes_the_deployment(self):
        if CHILDREN[0] in self.cluster.objects:
            self.cluster.edit(CHILDREN[0], lambda d: d["spec"].update(replicas=9))

    @rule()
    def stranger_takes_the_budget_away_from_us(self):
        if CHILDREN[2] in self.cluster.objects:
            self.cluster.edit(CHILDREN[2], lambda d: d["spec"].update(maxUnavailable=0))

    @rule()
    def somebody_deletes_a_pod(self):
        for pod in self.world.select("Pod")[:1]:
            self.cluster.remove(ref(pod))

    def settles(self):
        """At rest, the cluster is what the user asked, or the user is told why it cannot be."""
        self.rests()
        self.judge()
        if self.impossible():
            # What stood in the way is settled, and nothing of what happened meanwhile is forgotten.
            self.the_volume_comes()
            self.edit(lambda s: s["spec"].update(placement={"topology": "None"}))
            self.rests()
            self.judge()

    def impossible(self):
        spec = self.cluster.get(self.operator.ref)["spec"]
        asked = spec.get("placement", {}).get("topology") == "Rack"
        return asked or self.claim not in self.cluster.objects

    def judge(self):
        """The oracle. It knows the user's words and the cluster, and none of our decisions."""
        service = self.cluster.get(self.operator.ref)
        spec, status = service["spec"], service["status"]
        told = {c["type"]: c for c in status["conditions"]}
        assert status["observedGeneration"] == service["metadata"]["generation"]
        assert self.cluster.get(ref(STRANGERS))["spec"]["replicas"] == 0
        children = [self.cluster.get(child) for child in CHILDREN]
        if self.impossible():
            assert told["Ready"]["status"] == "False"
            assert told["Stalled"]["status"] == "True"
            assert told["Stalled"]["message"]
            return
        for child in children:
            assert child is not None
            owner = child["metadata"]["ownerReferences"][0]
            assert (owner["uid"], owner["controller"]) == (service["metadata"]["uid"], True)
        deployment, endpoints, budget = children
        assert deployment["spec"]["replicas"] == spec["replicas"]
        assert endpoints["spec"]["selector"] == {"preamar.dev/inferenceservice": "m"}
        assert budget["spec"]["maxUnavailable"] == 1
        path = spec["model"]["uri"].removeprefix("pvc://models/")
        init = deployment["spec"]["template"]["spec"]["initContainers"][0]
        assert f'"/mnt/model/{path}"' in init["env"][0]["value"]
        pods = [p for p in self.world.live_pods() if ready(p)]
        assert len(pods) == spec["replicas"]
        assert status["readyReplicas"] == spec["replicas"]
        seen = self.operator.demand.in_flight
        if spec["scaling"]["mode"] == "Managed":
            low, high = spec["scaling"]["min"], spec["scaling"]["max"]
            assert low <= spec["replicas"] <= high
            if seen is not None:
                assert spec["replicas"] == max(low, min(high, ceil(seen / 8)))
            assert status["decision"]["replicas"] == spec["replicas"]
        if spec["replicas"]:
            assert told["Ready"]["status"] == "True"
        elif spec["scaling"]["mode"] == "Managed" and seen is not None:
            assert (told["Ready"]["status"], told["Ready"]["reason"]) == ("True", "Asleep")
        assert told["Stalled"]["status"] == "False"


ServingLives.TestCase.settings = LIVES
test_a_service_becomes_what_was_asked_and_stays_so = ServingLives.TestCase
