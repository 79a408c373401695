"""Whatever happens to it, a training job ends as its user asked, one attempt at a time.

Holds: core/training/lifecycle.py, core/training/reconcile.py, core/training/rules/ended.py,
core/training/rules/running.py
"""

from datetime import datetime
from json import loads

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from preamar.core.plan import Ref
from preamar.core.timestamps import moment
from tests.life.machine import LIVES, Lives
from tests.life.operator import SETTINGS
from tests.life.ranks import ATTEMPT, CONVERSION, SCOUT
from tests.life.world import NAMESPACE, gone, kind_of, prepares, ref

LIMIT = 2


def a_job():
    return {
        "apiVersion": "preamar.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": "t", "namespace": NAMESPACE},
        "spec": {
            "accelerator": {"type": "CPU"},
            "data": {"sources": [{"name": "books", "uri": "pvc://data/books"}]},
            "checkpoint": {"uri": "pvc://data/ckpt", "schedule": "Steps", "everySteps": 5},
            "batch": {"global": 16},
            "steps": 10,
            "workers": {"replicas": 2, "min": 1, "max": 4},
            "restarts": {"limit": LIMIT},
        },
    }


class TrainingLives(Lives):
    volume = "data"
    quiet = (1, 1, 1, 1900, *(130, 1, 1) * 6, *(1,) * 12, 130, 1, 1, 1)

    @initialize(started=st.integers(0, 4), room=st.sampled_from([99, 99, 1]))
    def begins(self, started, room):
        self.start(a_job())
        self.world.room = room
        self.world.steps_left = 16
        self.failures = set()  # attempts in which a rank was made to fail
        self.spoiled = set()  # the same, including those whose Job a stranger took away
        self.users = False
        self.first_made = ""
        self.users_attempt = ""
        self.all_goes_well(started)

    @rule(seconds=st.sampled_from([1, 1, 5, 21, 45]))
    def time_passes(self, seconds):
        self.pass_time(seconds)

    @rule(code=st.sampled_from([(1, "Unknown"), (137, "Killed"), (1, "PeerLost")]))
    def a_rank_fails(self, code):
        self._fail(code)

    @rule()
    def a_rank_finds_the_user_in_error(self):
        if not self.spoiled:
            self.users = self._fail((1, "ConfigError")) or self.users

    def ranks(self):
        others = [p for p in self.world.live_pods() if not prepares(p)]
        return [pod for pod in others if SCOUT not in pod["metadata"]["labels"]]

    def attempts(self):
        jobs = self.world.select("Job")
        return [j for j in jobs if "preamar.dev/attempt" in j["metadata"]["labels"]]

    def _fail(self, code):
        for pod in self.ranks():
            running = pod["status"]["phase"] == "Running" and not gone(pod)
            attempt = pod["metadata"]["labels"].get("preamar.dev/attempt")
            judged = Ref("batch/v1", "Job", NAMESPACE, f"t-{attempt}") in self.cluster.objects
            loaded = pod["metadata"]["name"] in self.world.loaded
            if (
                running
                and loaded
                and judged
                and attempt not in self.spoiled
                and self.world.steps_left > 1
            ):
                self.world.failing[pod["metadata"]["name"]] = code
                if code[1] != "PeerLost":  # who only lost a peer has not failed
                    self.failures.add(attempt)
                self.spoiled.add(attempt)
                self.users_attempt = attempt if code[1] == "ConfigError" else self.users_attempt
                self.world.tick(1)
                self.operator.look()
                return True
        return False

    @rule(suspend=st.booleans())
    def user_suspends_or_resumes(self, suspend):
        self.edit(lambda j: j["spec"].update(suspend=suspend))

    @rule(replicas=st.sampled_from([1, 2, 3, 4]))
    def user_changes_the_size(self, replicas):
        self.edit(lambda j: j["spec"]["workers"].update(replicas=replicas))

    @rule(room=st.sampled_from([0, 1, 1, 2, 99]))
    def accelerators_are_taken_or_given_back(self, room):
        self.world.room = room

    @rule(reachable=st.booleans())
    def the_agent_comes_and_goes(self, reachable):
        self.world.ranks.reachable = reachable

    @rule()
    def a_node_is_lost(self):
        for pod in self.world.live_pods():
            labels = pod["metadata"]["labels"]
            attempt = labels.get(ATTEMPT)
            running = pod["status"]["phase"] == "Running" and not prepares(pod)
            # Where a rank of it has failed already, it is open which of both is heard.
            if running and attempt is not None and attempt not in self.spoiled:
                self.world.lose(pod)
                self.spoiled.add(attempt)
                self.operator.look()
                return

    @rule()
    def nodes_come_back(self):
        self.world.returned |= self.world.lost
        self.world.lost.clear()

    @rule(how=st.sampled_from(["", "gate", "conversion"]))
    def resizes_go_wrong(self, how):
        self.world.ranks.sabotage = how

    @rule()
    def stranger_deletes_a_conversion(self):
        for job in self.world.select("Job"):
            if CONVERSION in job["metadata"]["labels"]:
                self.cluster.remove(ref(job))
                return

    @rule()
    def stranger_deletes_a_job(self):
        for job in self.attempts()[-1:]:
            if not job.get("status", {}).get("conditions"):
                # Its failure, if it had one, is gone with it before anybody could see it.
                attempt = job["metadata"]["labels"]["preamar.dev/attempt"]
                self.failures.discard(attempt)
                self.users = self.users and attempt != self.users_attempt
                if "goodput" not in self.cluster.get(self.operator.ref).get("status", {}):
                    # So is the time it took, of which nobody had told.
                    self.first_made = ""
                self.cluster.remove(ref(job))

    @rule()
    def stranger_deletes_the_service(self):
        where = Ref("v1", "Service", NAMESPACE, "t-ranks")
        if where in self.cluster.objects:
            self.cluster.remove(where)

    @rule(late=st.integers(0, 4))
    def operator_passes(self, late):
        unended = {name_of(j) for j in self.attempts() if not kind_of(j)}
        super().operator_passes(late)
        self.watched()  # an attempt may be gone before the step that made it has ended
        if late == 0:
            self.nobody_holds_accelerators_for_ever()
        else:
            # A stop that was decided before a failure was seen takes it away unseen.
            stopped = unended - {name_of(j) for j in self.attempts()}
            self.failures -= {name.rpartition("-")[2] for name in stopped}

    def nobody_holds_accelerators_for_ever(self):
        """Once the operator has looked, whoever waits for the others does not hold his any more."""
        for job in self.world.select("Job"):
            pods = [p for p in self.world._of(job) if not gone(p)]
            phases = {p["status"]["phase"] for p in pods}
            began = moment(job.get("status", {}).get("startTime"))
            if phases == {"Running", "Pending"} and not gone(job):
                held = (self.world.now - began).total_seconds()
                assert held < SETTINGS.gang_seconds, f"held for {held} s for nothing"

    def watched(self):
        self.one_attempt_at_a_time()

    def one_attempt_at_a_time(self):
        # Ranks behind a broken network may live on; the store keeps them from publishing.
        apart = self.world.lost | self.world.returned
        pods = [p for p in self.ranks() if p["metadata"]["name"] not in apart]
        who = {p["metadata"]["ownerReferences"][0]["name"] for p in pods}
        assert len(who) <= 1, f"{who} have pods at once"

        made = [j["metadata"]["creationTimestamp"] for j in self.attempts()]
        self.first_made = min([*made, *([self.first_made] if self.first_made else [])], default="")

    def every_second_has_one_use(self, status):
        """The ledger adds up to the time from the first attempt, less suspension."""
        if "goodput" not in status:
            assert not self.first_made
            return
        told = dict(status["goodput"])
        until, _, _ = told.pop("at"), told.pop("unsavedSeconds"), told.pop("faults")
        assert min(told.values()) >= 0
        wall = datetime.fromisoformat(until) - datetime.fromisoformat(self.first_made)
        assert abs(sum(told.values()) - wall.total_seconds()) <= 1

    def holds(self):
        self.one_attempt_at_a_time()

    def settles(self):
        self.the_volume_comes()
        self.world.room = 99
        spec = self.cluster.get(self.operator.ref)["spec"]
        if spec["workers"]["replicas"] == 3:  # 16 samples on 3 ranks: the user is told, and repairs
            self.pass_time(1)
            self.edit(lambda j: j["spec"]["workers"].update(replicas=2))
        must_rest = spec.get("suspend") and self.world.steps_left > 8
        before = self.world.steps_left
        self.rests()
        self.judge()
        self.judge_size(before)
        if must_rest:
            assert not [j for j in self.attempts() if kind_of(j) == "Complete"]

    def judge(self):
        """The oracle. It counts what was done to the job, and knows none of our decisions."""
        job = self.cluster.get(self.operator.ref)
        status, told = job["status"], {}
        assert len(status["conditions"]) == 6
        self.every_second_has_one_use(status)
        least = job["spec"]["workers"]["min"]
        assert status["validWorldSizes"] == [n for n in (1, 2, 4) if n >= least]
        for condition in status["conditions"]:
            told[condition["type"]] = (condition["status"], condition["reason"])
            assert condition["message"]
        assert status["observedGeneration"] == job["metadata"]["generation"]
        assert self.claim in self.cluster.objects
        jobs = self.attempts()
        assert len({j["metadata"]["name"] for j in jobs}) <= 5
        assert len(self.world.select("Job")) <= 10
        complete = [j for j in jobs if kind_of(j) == "Complete"]
        for made in jobs:
            check_attempt(made, job)
        lost = self.world.lost
        alive = [p for p in self.world.live_pods() if p["metadata"]["name"] not in lost]
        if self.users:
            assert told["Succeeded"] == ("False", "ConfigError")
            assert (told["Stalled"][0], alive) == ("True", [])
        elif complete:
            assert told["Succeeded"] == ("True", "Done")
            assert len(complete) == 1
            assert not alive
            assert status["restarts"] == len(self.failures)
        elif len(self.failures) > LIMIT:
            assert told["Succeeded"] == ("False", "RestartsExhausted")
            assert told["Stalled"][0] == "True"
            assert not alive
            assert status["failure"]["explanation"] == "as told"
        else:
            assert job["spec"].get("suspend"), "it neither ended nor was it stopped"
            assert told["Suspended"] == ("True", "Suspended")
            assert not alive
            assert status["restarts"] == len(self.failures)

    def judge_size(self, steps_left):
        """Who trains on long enough does so at the size that was asked for last, unless resizes go
        wrong; and whoever has changed its size has said so."""
        job, ranks = self.cluster.get(self.operator.ref), self.world.ranks
        complete = [j for j in attempts(self.world) if kind_of(j) == "Complete"]
        told = {c["type"]: c["status"] for c in job["status"]["conditions"]}
        if not complete:
            return
        (last,) = complete
        size, wish = last["spec"]["completions"], job["spec"]["workers"]["replicas"]
        if steps_left > 8 and not ranks.sabotage:
            assert size == wish
        seen = ranks.resumed.get(last["metadata"]["labels"]["preamar.dev/attempt"])
        if seen:
            newest = next(iter(job["status"].get("resizes", ())), None)
            assert newest, "nothing is told of a resize"
            assert (newest["from"], newest["to"]) == (seen["from"], size)
            assert newest["outcome"] == "Verified"
            assert told["ContinuityVerified"] == "True"
        assert job["status"]["samples"]["consumed"] == ranks.steps * 16
        assert job["status"]["samples"]["skipped"] == job["status"]["samples"]["duplicated"] == 0


def attempts(world):
    return sorted(
        (j for j in world.select("Job") if ATTEMPT in j["metadata"]["labels"]),
        key=lambda j: int(j["metadata"]["labels"][ATTEMPT]),
    )


def name_of(job):
    return job["metadata"]["name"]


def check_attempt(made, job):
    spec = made["spec"]
    assert made["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]
    assert spec["completions"] == spec["parallelism"]
    assert spec["backoffLimit"] == 0
    container = spec["template"]["spec"]["containers"][0]
    env = {v["name"]: v["value"] for v in container["env"]}
    order = loads(env["PREAMAR_TRAIN"])
    assert int(env["WORLD_SIZE"]) == spec["completions"]
    assert order["attempt"] == int(made["metadata"]["labels"]["preamar.dev/attempt"])
    batch = order["batch"]
    assert batch["micro"] * batch["accumulation"] * spec["completions"] == batch["global"] == 16
    assert env["MASTER_ADDR"] == f"{made['metadata']['name']}-0.t-ranks"


TrainingLives.TestCase.settings = LIVES
test_a_job_ends_as_asked_one_attempt_at_a_time = TrainingLives.TestCase
