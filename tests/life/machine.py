"""What may happen to any resource, whatever its kind: its operator sees late or dies, time passes, its
volume comes and goes. In the end the world is left alone, must come to rest, and is judged.
"""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from preamar.cluster.port import Conflict
from preamar.core.plan import Plan, Ref
from tests.hunting import examples
from tests.life.operator import Operator
from tests.life.world import NAMESPACE, World

LIVES = examples(8, 2000, stateful_step_count=25, database=None)


class Lives(RuleBasedStateMachine):
    volume: str  # the name of the claim that the resource lives on
    quiet: tuple[int, ...]  # seconds between the passes after which all must be at rest
    operates, world_of = Operator, World

    def start(self, resource, *others):
        """A world with the resource in it, and an operator that has seen it and done nothing."""
        self.world = self.world_of()
        for body in (self.a_claim(), *others, resource):
            self.cluster.create(body)
        self.operator = self.operates(self.world, resource["kind"], resource["metadata"]["name"])
        self.operator.look()

    def settles(self):
        """The oracle of the kind: settle what stands in the way, then ``rests`` and judge."""
        raise NotImplementedError

    @property
    def cluster(self):
        return self.world.cluster

    @property
    def claim(self):
        return Ref("v1", "PersistentVolumeClaim", NAMESPACE, self.volume)

    def a_claim(self):
        return {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": self.volume, "namespace": NAMESPACE},
            "spec": {"accessModes": ["ReadWriteMany"]},
            "status": {"phase": "Bound", "accessModes": ["ReadWriteMany"]},
        }

    def edit(self, change):
        self.cluster.edit(self.operator.ref, change)
        self.operator.look()

    def pass_time(self, seconds):
        self.world.tick(seconds)
        self.operator.look()

    @rule(late=st.integers(0, 4))
    def operator_passes(self, late):
        self.operator.look()
        self.operator.passes(late)

    @rule(times=st.integers(1, 4))
    def all_goes_well(self, times):
        for _ in range(times):
            self.world.tick(1)
            self.operator_passes(0)

    @rule(writes=st.integers(0, 6))
    def operator_dies_midway(self, writes):
        self.operator.look()
        self.operator.passes(dies_in=writes)

    @rule()
    def the_volume_comes_or_goes(self):
        if self.claim in self.cluster.objects:
            self.cluster.remove(self.claim)
        else:
            self.cluster.create(self.a_claim())

    def the_volume_comes(self):
        if self.claim not in self.cluster.objects:
            self.cluster.create(self.a_claim())

    @invariant()
    def after_each_step(self):
        if hasattr(self, "world"):
            self.watched()

    def watched(self):
        """What is looked at after each thing that happens."""

    def holds(self):
        """What must be true at any moment."""

    def rests(self):
        """After a few quiet passes there is nothing left to do."""
        for seconds in self.quiet:
            self.pass_time(seconds)
            self.holds()
            try:
                self.operator.passes()
            except Conflict:
                continue
        for _ in range(2):
            self.pass_time(0)
            plan = self.operator.passes()
        assert plan == Plan(recheck_in=plan.recheck_in), f"never at rest: {plan}"

    def teardown(self):
        if hasattr(self, "world"):
            self.settles()
