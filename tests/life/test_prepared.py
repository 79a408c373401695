"""Whatever happens, no rank starts before the data is prepared, and a user's error waits for an edit.

Holds: core/training/data/preparing.py, core/training/leftovers.py
"""

import contextlib
from json import loads

from hypothesis import strategies as st
from hypothesis.stateful import rule

from preamar.api.training import TrainingJob
from preamar.cluster.port import Conflict
from preamar.core.plan import Ref
from preamar.core.training.pods.desired import order_digest
from preamar.protocol.labels import ORDER
from tests.life.machine import LIVES
from tests.life.ranks import ATTEMPT
from tests.life.test_training import TrainingLives, a_job
from tests.life.world import NAMESPACE, prepares

PREPARE = Ref("batch/v1", "Job", NAMESPACE, "t-prepare")


def asking():
    job = a_job()
    job["spec"]["data"]["prepare"] = {"target": "pvc://data/c"}
    return job


class PreparedLives(TrainingLives):
    # Other data is prepared before anything else may begin, and resizes wait behind it.
    quiet = (*TrainingLives.quiet, *(130, 1, 1) * 6, *(1,) * 16)

    def start(self, _resource, *others):
        super().start(asking(), *others)
        self.wrong = ""  # the order in which a rank found its user in error
        self.edited = False  # whether another was asked for then or since
        self.newest = 0

    def _fail(self, code):
        failed = super()._fail(code)
        if failed and code[1] == "ConfigError":
            made = Ref("batch/v1", "Job", NAMESPACE, f"t-{self.users_attempt}")
            self.wrong = self.cluster.objects[made]["metadata"]["annotations"][ORDER]
            self.edited = self.order() != self.wrong
        return failed

    def order(self):
        return order_digest(TrainingJob.model_validate(self.cluster.get(self.operator.ref)))

    @rule(code=st.sampled_from([(64, "DataError"), (1, "Unknown")]))
    def the_data_cannot_be_prepared(self, code):
        if not self.world.prepared:
            self.world.prepare_fails = [code]

    @rule()
    def stranger_deletes_the_prepare_job(self):
        if PREPARE in self.cluster.objects:
            self.cluster.remove(PREPARE)
            self.operator.look()

    @rule(least=st.integers(0, 3))
    def user_wants_other_data(self, least):
        filters = {"minCharacters": least}
        self.edit(lambda j: j["spec"]["data"]["prepare"].update(filters=filters))
        self.edited = self.edited or self.order() != self.wrong

    def watched(self):
        super().watched()
        made = [int(j["metadata"]["labels"][ATTEMPT]) for j in self.attempts()]
        self.newest = max([self.newest, *made])
        self.no_rank_starts_before_the_data_is_prepared()

    def no_rank_starts_before_the_data_is_prepared(self):
        for made in self.attempts():
            assert self.world.prepared
            env = made["spec"]["template"]["spec"]["containers"][0]["env"]
            order = loads(next(v["value"] for v in env if v["name"] == "PREAMAR_TRAIN"))
            assert order["data"]["prepared"] == "/mnt/prepared/c/k-1"

    def settles(self):
        """A failure to prepare stands until the user, told of it, deletes the Job."""
        self.the_volume_comes()
        self.world.prepare_fails = []
        for seconds in (1, 1, 11, 1, 1, 11, 1, 1, 11):
            self.pass_time(seconds)
            self.quietly()
        if self.failed_to_prepare():
            self.judge_failure()
            self.cluster.remove(PREPARE)
            self.operator.look()
        super().settles()

    def judge(self):
        """What was found wrong stands while it is asked for; another order meanwhile may have had
        one more try."""
        self.watched()
        tried = self.edited and self.newest > int(self.users_attempt or 0)
        self.users = self.users and self.order() == self.wrong and not tried
        super().judge()

    def quietly(self):
        with contextlib.suppress(Conflict):
            self.operator.passes()

    def failed_to_prepare(self):
        found = self.cluster.objects.get(PREPARE, {}).get("status", {}).get("conditions", ())
        return any(c["type"] == "Failed" for c in found)

    def judge_failure(self):
        job = self.cluster.get(self.operator.ref)
        told = {c["type"]: c for c in job["status"]["conditions"]}
        assert not [p for p in self.world.live_pods() if prepares(p)]
        if "delete the Job t-prepare" in told["Stalled"]["message"]:
            assert told["Stalled"]["reason"] in {"DataError", "PrepareFailed"}
            assert told["Succeeded"]["status"] == "Unknown"


PreparedLives.TestCase.settings = LIVES
test_data_is_prepared_before_any_rank_starts = PreparedLives.TestCase
