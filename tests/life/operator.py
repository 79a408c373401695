"""An operator as the shell runs one: gathers, decides, executes, remembers, and sometimes dies.

It sees the cluster through a cache which may be late, but never decides on a view that does not
show its own last write, as the shell's passes do not.
"""

from preamar.api.training import TrainingJob
from preamar.cluster.execute import execute
from preamar.core.objects import Child, ClaimView, controller_of
from preamar.core.plan import Ref
from preamar.core.pods import PodView
from preamar.core.serving import observe as serving
from preamar.core.serving import reconcile as serving_reconcile
from preamar.core.serving.model.images import read
from preamar.core.serving.pods.group import grouped, workers_ref
from preamar.core.settings import Settings
from preamar.core.training import observe as training
from preamar.core.training import reconcile as training_reconcile
from preamar.protocol.labels import WORK_LABEL
from tests.life.world import NAMESPACE, Died

HISTORY = 6
ROLE = "preamar.dev/role"
SETTINGS = Settings(gang_seconds=40)


class Operator:
    def __init__(self, world, kind, name):
        self.world, self.name = world, name
        self.ref = Ref("preamar.dev/v1alpha1", kind, NAMESPACE, name)
        self.applied, self.refused = {}, {}
        self.views = []
        self.demand = serving.Demand(in_flight=0)
        self.settings = SETTINGS

    def look(self):
        """The watch delivers what is there now. Stored objects are replaced, never changed."""
        self.views = [*self.views, dict(self.world.cluster.objects)][-HISTORY:]

    def passes(self, late=0, dies_in=None):
        """One pass over a view which is ``late`` looks old; returns its plan, None if it died."""
        view = self.views[-1 - min(late, len(self.views) - 1)]
        body = view.get(self.ref)
        if body is None:
            return None
        plan = self.plan(view, body)
        self.world.dies_in = dies_in
        try:
            outcome = finish(execute(self.world.cluster, plan, body))
        except Died:
            self.applied, self.refused, self.views = {}, {}, []
            self.look()
            return None
        finally:
            self.world.dies_in = None
        self.applied |= outcome.applied
        self.refused = dict(outcome.refused)
        for ref in outcome.deleted:
            self.applied.pop(ref, None)
        if outcome.writes:
            self.views = []  # nothing that is older than our own write
            self.look()
        return plan

    def plan(self, view, body):
        if self.ref.kind == "InferenceService":
            return serving_reconcile.reconcile(self.service(view, body))
        return training_reconcile.reconcile(self.job(view, body))

    def service(self, view, body):
        service = read(body, self.settings)
        names = serving.children_named(service)
        # Of a strategy that was changed since: nobody would look for it.
        names = tuple(dict.fromkeys((*names, serving.canary_ref(service))))
        names += tuple(r for r in view if r.kind == "Job" and r not in names)
        deployment = view.get(names[0])
        mine = pods(view, "preamar.dev/inferenceservice", self.name)
        if grouped(service):
            names += tuple(workers_ref(service, pod.uid) for pod in mine)
        return serving.Observed(
            service=service,
            now=self.world.now,
            children={n: Child.of(view[n]) for n in names if n in view},
            deployment=serving.DeploymentView.of(deployment) if deployment else None,
            pods=tuple(p for p in mine if ROLE not in p.labels),
            canaries=tuple(p for p in mine if ROLE in p.labels),
            workers=pods(view, WORK_LABEL, self.name),
            claims=claims(view, (*serving.claims_named(service), self.settings.model_cache_claim)),
            settings=self.settings,
            demand=self.demand,
            applied=self.applied,
            refused=self.refused,
        )

    def job(self, view, body):
        job = TrainingJob.model_validate(body)
        uid = body["metadata"]["uid"]
        own = [
            found
            for ref, found in sorted(view.items())
            if ref.kind == "Job" and controller_of(found["metadata"]) == uid
        ]
        jobs, conversions, scouts, preparing = training.apart(map(training.JobView.of, own))
        names = training.children_named(job, jobs)
        return training.Observed(
            job=job,
            now=self.world.now,
            settings=self.settings,
            children={n: Child.of(view[n]) for n in names if n in view},
            jobs=jobs,
            conversions=conversions,
            scouts=scouts,
            stop=self.heard(jobs, own),
            preparing=preparing,
            pods=pods(view, "preamar.dev/trainingjob", self.name),
            claims=claims(view, training.claims_named(job)),
            applied=self.applied,
            refused=self.refused,
        )

    def heard(self, jobs, own):
        """What the shell would have heard of the order on the newest attempt's Job."""
        if not jobs or jobs[-1].over:
            return None
        last = next(j for j in own if j["metadata"]["uid"] == jobs[-1].uid)
        found = self.world.ranks.heard(last, self.world.now)
        return training.StopAck(*found) if found else None


def pods(view, label, name):
    return tuple(
        PodView.of(found)
        for ref, found in sorted(view.items())
        if ref.kind == "Pod" and found["metadata"].get("labels", {}).get(label) == name
    )


def claims(view, names):
    refs = {name: Ref("v1", "PersistentVolumeClaim", NAMESPACE, name) for name in names}
    return {name: ClaimView.of(view[ref]) for name, ref in refs.items() if ref in view}


def finish(coroutine):
    """Run a coroutine that never waits, which is all that a cluster in memory needs."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("the cluster in memory has waited")
