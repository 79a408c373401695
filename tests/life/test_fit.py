"""Whatever memory there is and however often a model crashes: in the end it answers with a batch that
fits, or it holds nothing and its user is told why.

Holds: core/serving/health/fit.py, core/serving/health/fit_kept.py
"""

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from tests.life.machine import LIVES
from tests.life.test_serving import CHILDREN, STRANGERS, ServingLives, ServingOperator, a_service
from tests.life.world import ROOMY, batch_of, ready, restarts

ASKED, TRIED = 16, (16, 8, 4, 2)


class FitOperator(ServingOperator):
    def standing(self):
        """Of those that answer: what keeps crashing has no work to lose."""
        return {name: found for name, found in super().standing().items() if found[1]}

    def weigh(self, before, after):
        """Whoever answers is not taken away for what others could not."""
        super().weigh(before, after)
        if not self.size() and self.world.cluster.get(self.ref)["spec"]["replicas"]:
            answered = {p["metadata"]["name"] for p in self.steady} & before.keys()
            assert not answered, f"{answered} answered and went"

    def passes(self, late=0, dies_in=None):
        # One that keeps coming back from crashes is not trusted at once.
        up = [p for p in self.world.select("Pod") if ready(p)]
        self.steady = [p for p in up if restarts(p) < 2]
        return super().passes(late, dies_in)


class FitLives(ServingLives):
    operates = FitOperator
    quiet = (1,) * 24 + (70, 1, 70, 1, 1, 70)

    @initialize()
    def begins(self):
        service = a_service()
        service["spec"]["runtime"] = {"batching": {"maxBatchSize": ASKED}}
        self.start(service, STRANGERS)
        self.least, self.crashed, self.edits = ROOMY, False, 0

    @rule(fits=st.sampled_from([-1, 0, 1, 2, 3, 8, 16]))
    def memory_becomes(self, fits):
        self.world.fits = fits
        self.least = min(self.least, fits)

    @rule()
    def the_model_crashes(self):
        self.world.crashes = self.crashed = True

    @rule()
    def the_model_crashes_no_more(self):
        self.world.crashes = False

    @rule(size=st.sampled_from([1, 2, 3]))
    def time_passes_while_somebody_waits(self, size):
        """Long enough for all that is tried to have been tried."""
        self.demand_changes(size * 8)
        for _ in range(6):
            self.all_goes_well(4)

    @rule()
    def stranger_resizes_the_deployment(self):
        if self.operator.size():  # what a stranger makes of a model that was given up goes again
            super().stranger_resizes_the_deployment()

    @rule()
    def user_edits_what_no_revision_knows_of(self):
        self.edits += 1
        place = {"nodeSelector": {"try": str(self.edits)}}
        self.edit(lambda s: s["spec"].update(placement=place))

    @rule()
    def user_mends_it(self):
        self.world.fits, self.world.crashes = ROOMY, False
        self.least, self.crashed = ROOMY, False
        self.edits += 1
        env = [{"name": "TRY", "value": str(self.edits)}]
        self.edit(lambda s: s["spec"]["runtime"].update(env=env))

    def settles(self):
        super().settles()
        self.user_mends_it()
        self.rests()
        self.judge()

    def judge(self):
        if self.impossible():
            super().judge()
            return
        service, deployment = self.cluster.get(self.operator.ref), self.cluster.get(CHILDREN[0])
        told = {c["type"]: c for c in service["status"]["conditions"]}
        batch = batch_of(deployment["spec"]["template"])
        assert batch in TRIED
        assert batch >= max([2, *(b for b in TRIED if b <= self.least)]), "smaller than was needed"
        up = [p for p in self.world.live_pods() if ready(p)]
        if told["Stalled"]["status"] == "False" and self.world.crashes and up:
            assert told["Ready"]["status"] == "True"  # others crash, and that is told of the size
            # Enough may answer from before an edit while the new ones, beside them, crash.
            whole = len(up) == len(self.world.live_pods()) == service["spec"]["replicas"]
            assert told["Scaled"]["status"] == str(whole)
        elif told["Stalled"]["status"] == "False":
            super().judge()
            assert all(batch_of(p) <= self.world.fits for p in self.world.live_pods())
        else:
            self.judge_stalled(service, deployment, told["Stalled"])

    def judge_stalled(self, service, deployment, why):
        revision = deployment["spec"]["template"]["metadata"]["labels"]["preamar.dev/revision"]
        was_ready = service["status"].get("revision") == revision
        trouble = {"OutOfMemory": self.least < min(TRIED), "ModelCrashes": self.crashed}
        assert trouble[why["reason"]], f"{why} without a cause"
        assert why["message"]
        if deployment["spec"]["replicas"]:
            kept = was_ready and why["reason"] == "ModelCrashes"
            assert kept or any(map(ready, self.world.live_pods())), f"{why} and holds on"
            return
        assert not self.world.live_pods()
        assert "edit" in why["message"]
        assert not was_ready or why["reason"] == "OutOfMemory"


FitLives.TestCase.settings = LIVES
test_a_service_fits_or_holds_nothing = FitLives.TestCase
