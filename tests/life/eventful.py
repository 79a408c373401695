"""Lives with more in them of what shows bugs than chance has, and the bugs that each must show."""

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from tests.life.bugs_of_serving import COMPILING, FITTING, SERVING, TRYING
from tests.life.bugs_of_training import TRAINING
from tests.life.ranks import CONVERSION
from tests.life.test_canary import CanaryLives
from tests.life.test_engines import EngineLives
from tests.life.test_fit import FitLives
from tests.life.test_serving import ServingLives
from tests.life.test_training import TrainingLives


class Resized(TrainingLives):
    """A job's life with more resizes in it than chance has."""

    @rule(replicas=st.sampled_from([1, 2, 4]), how=st.sampled_from(["", "gate", "conversion"]))
    def a_resize_runs_its_course(self, replicas, how):
        self.resizes_go_wrong(how)
        self.user_changes_the_size(replicas)
        for _ in range(3):
            self.all_goes_well(4)

    @rule()
    def a_wish_is_taken_back_while_it_is_carried_out(self):
        self.resizes_go_wrong("")
        before = self.cluster.get(self.operator.ref)["spec"]["workers"]["replicas"]
        self.user_changes_the_size(1 if before == 4 else 4)
        for _ in range(8):
            self.all_goes_well(1)
            if any(CONVERSION in p["metadata"]["labels"] for p in self.world.live_pods()):
                break
        self.user_changes_the_size(before)
        self.all_goes_well(3)


class Broken(FitLives):
    """A life that begins with what goes wrong, and with time to see what becomes of it."""

    @initialize(what=st.sampled_from(["no memory", "less memory", "crash", "edit", "first crash"]))
    def begins(self, what):
        super().begins()
        if what in {"crash", "edit"}:
            self.time_passes_while_somebody_waits(1)
        if what.endswith("memory"):
            self.memory_becomes(1 if what == "no memory" else 4)
        else:
            self.the_model_crashes()
        if what == "edit":
            self.user_changes_the_model("two")
        if what == "crash":
            self.somebody_deletes_a_pod()
        self.time_passes_while_somebody_waits(1)


class Tried(CanaryLives):
    """A life that begins with a trial of what answers alike or otherwise."""

    @initialize(
        path=st.sampled_from(["one", "two"]), making=st.sampled_from(["alike", "otherwise"])
    )
    def begins(self, path, making):
        super().begins(2)
        self.user_changes_the_model(path)
        self.user_changes_how_it_is_made(making)
        self.operator_passes(0)


class Undecided(EngineLives):
    """A life of wishes that come and go. Nobody empties the volume: what is gone, a Job has removed."""

    somebody_empties_the_volume = None

    @rule(good=st.integers(1, 4))
    def wishes_go_round(self, good):
        for precision in ("INT8", "FP8", "FP16", "INT8"):
            self.user_changes_the_precision(precision)
            for _ in range(3):
                self.all_goes_well(good)


SHOWN = {
    ServingLives: SERVING,
    Broken: FITTING,
    Tried: TRYING,
    Undecided: COMPILING,
    Resized: TRAINING,
}
BUGS = [(machine, bug) for machine, bugs in SHOWN.items() for bug in bugs]
STEPS = {Broken: 4, Tried: 4}
"""How many things happen in a life that begins with what matters; 25 in the others."""


def named(value):
    return value.__name__
