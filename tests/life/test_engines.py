"""Whatever happens meanwhile, replicas end with the engines that were asked for, one for each product and
of the present TensorRT, or with what they had and the reason told; and none ever starts from an engine
that is not there.

Holds: core/serving/artifact/artifacts.py, core/serving/artifact/optimize_job.py,
core/serving/artifact/optimized.py
"""

from dataclasses import replace
from json import dumps, loads

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from preamar.core.plan import Ref
from tests.core.builders import order_of, products_of
from tests.life.machine import LIVES, Lives
from tests.life.test_serving import a_service
from tests.life.workshop import OLD, WORKS, Workshop
from tests.life.world import NAMESPACE, gone, ready, ref

DEPLOYMENT = Ref("apps/v1", "Deployment", NAMESPACE, "m-serve")
KEPT_ON = "preamar-models"


def compiled_service():
    service = a_service()
    service["spec"] |= {
        "accelerator": {"type": "GPU", "products": ["new"]},
        "optimize": {"engine": "TensorRT", "precision": "FP16"},
        "scaling": {"mode": "Managed", "min": 1, "max": 2},
    }
    return service


class EngineLives(Lives):
    volume = "models"
    quiet = (1,) * 40
    world_of = Workshop

    @initialize(well=st.integers(0, 4))
    def begins(self, well):
        cache = self.a_claim()
        cache["metadata"]["name"] = KEPT_ON
        self.start(compiled_service(), cache)
        self.all_goes_well(4 + well)

    @rule(seconds=st.sampled_from([1, 5, 60]))
    def time_passes(self, seconds):
        self.pass_time(seconds)

    @rule(path=st.sampled_from(["one", "two"]))
    def user_changes_the_model(self, path):
        self.edit(lambda s: s["spec"]["model"].update(uri=f"pvc://models/{path}"))

    @rule(precision=st.sampled_from(["FP16", "INT8", "FP8"]))
    def user_changes_the_precision(self, precision):
        self.edit(
            lambda s: s["spec"].update(optimize={"engine": "TensorRT", "precision": precision})
        )

    @rule()
    def user_wants_no_engine(self):
        self.edit(lambda s: s["spec"].update(optimize={}))

    @rule(products=st.sampled_from([[], ["new"], ["new", "newer"], ["new", OLD]]))
    def user_changes_the_products(self, products):
        self.edit(lambda s: s["spec"]["accelerator"].update(products=products))

    @rule(batch=st.sampled_from([4, 16]))
    def user_changes_the_batch(self, batch):
        self.edit(lambda s: s["spec"].update(runtime={"batching": {"maxBatchSize": batch}}))

    @rule(strategy=st.sampled_from(["Canary", "Rolling"]))
    def user_changes_the_strategy(self, strategy):
        canary = {"percent": 50, "intervalSeconds": 10, "steps": 1}
        self.edit(lambda s: s["spec"].update(rollout={"strategy": strategy, "canary": canary}))

    @rule(image=st.sampled_from(["triton:1", "triton:2"]))
    def an_upgrade_brings_another_tensorrt(self, image):
        settings = replace(
            self.operator.settings, images={**self.operator.settings.images, "triton-gpu": image}
        )
        self.operator.settings = settings

    @rule(codes=st.lists(st.just(1), min_size=1, max_size=5))
    def builds_fail(self, codes):
        self.world.fails = codes

    @rule(in_flight=st.sampled_from([0, 17, 30]))
    def demand_changes(self, in_flight):
        self.operator.demand = replace(self.operator.demand, in_flight=in_flight)

    @rule(which=st.sampled_from(["Job", "Pod"]))
    def somebody_deletes(self, which):
        for body in self.world.select(which)[-1:]:
            if not gone(body):
                self.cluster.remove(ref(body))

    @rule()
    def somebody_empties_the_volume(self):
        self.world.kept, self.world.emptied = {}, True

    def settles(self):
        self.the_volume_comes()
        self.user_changes_the_strategy("Rolling")
        self.world.fails = []
        self.world.tick(1)
        for job in self.world.select("Job"):  # as their sentence says, for those that have failed
            if WORKS in job["spec"]["template"]["metadata"]["labels"]:
                self.cluster.remove(ref(job))
        self.world.tick(1)
        self.rests()
        self.judge()

    def judge(self):
        """The oracle: it knows what was asked for and what lies on the volume."""
        assert not self.world.started_from_nothing
        spec = self.cluster.get(self.operator.ref)["spec"]
        status = self.cluster.get(self.operator.ref)["status"]
        told = {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}
        wish, products = spec["optimize"], spec["accelerator"]["products"]
        if wish.get("precision") == "FP8" and OLD in products:
            assert told["Optimized"] == ("False", "OptimizationUnsupported")
            return
        template = self.cluster.get(DEPLOYMENT)["spec"]["template"]["spec"]
        (model,) = template["initContainers"]
        order = order_of(model, "PREAMAR_MODEL")
        path = spec["model"]["uri"].removeprefix("pvc://models/")
        pods = [p for p in self.world.select("Pod") if ready(p) and not gone(p)]
        serving = [p for p in pods if WORKS not in p["metadata"]["labels"]]
        assert serving
        assert all(p["spec"] == template for p in serving)
        if not wish:
            assert (order["source"], "engine" in order) == (f"/mnt/model/{path}", False)
            assert told["Optimized"] == ("False", "NotRequested")
            return
        assert told["Optimized"] == ("True", "Optimized")
        assert model["image"] == self.operator.settings.images["triton-gpu"]
        assert products_of(template) == products
        batch = spec.get("runtime", {}).get("batching", {}).get("maxBatchSize", 8)
        wanted = dumps([f"/mnt/model/{path}", wish["precision"], batch, model["image"]])
        built = {p: what for (at, p), (what, _) in self.world.kept.items() if at == order["source"]}
        # Replicas that have loaded need the volume no more.
        emptied = self.world.emptied
        assert emptied or set(products or ["any"]) <= set(built) or (not products and built)
        assert set(built.values()) in ({wanted}, set() if emptied else {wanted})
        engines = [e["product"] for e in status["optimization"]["engines"]]
        assert engines == products or (not products and len(engines) == 1)
        assert loads(wanted)[2] == order["batching"]["maxBatchSize"]


EngineLives.TestCase.settings = LIVES
test_replicas_end_with_the_engines_that_were_asked_for = EngineLives.TestCase
