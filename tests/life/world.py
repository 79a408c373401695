"""A world for the operator to live in: a cluster in memory, its controllers, and time.

The controllers do what the life test relies on and no more: Deployments and Jobs make and remove
pods, a kubelet starts them, ends them gracefully and tells how they ended, garbage is collected.
None of it looks at the operator's code.
"""

from datetime import UTC, datetime, timedelta
from json import dumps, loads

from preamar.cluster.memory import MemoryCluster
from preamar.core.plan import Ref
from tests.life.ranks import ATTEMPT, CONVERSION, SCOUT, Ranks

NAMESPACE = "demo"
START = datetime(2026, 1, 1, tzinfo=UTC)


class World:
    def __init__(self):
        self.now = START
        self.dies_in = None
        self.cluster = MemoryCluster(clock=self.time, before=self._write)
        self.model_loads = True
        self.fits = (
            ROOMY  # the largest batch for which replicas have memory; below 0: not even to prepare
        )
        self.crashes = False  # whether model servers end while they load
        self.ranks = Ranks(3)
        self.born = 0
        self.ending = set()
        self.prepare_fails = []  # what the next pods that prepare end with: (exit code, class)
        self.prepared = 0
        self.failing = {}  # pod name -> (exit code, class)
        self.room = 99  # pods that nodes can take at once
        self.loaded = set()  # pods that have loaded their checkpoint
        self.sizes = {}  # attempt -> completions
        self.lost = set()  # pods on nodes that nobody hears of
        self.returned = set()  # those that were, and are ended now

    def time(self):
        return self.now.strftime("%Y-%m-%dT%H:%M:%SZ")

    def _write(self, verb, ref):
        if verb == "read" or self.dies_in is None:
            return
        self.dies_in -= 1
        if self.dies_in < 0:
            self.dies_in = None
            raise Died

    def tick(self, seconds=1.0):
        """Time passes, and every controller has a look."""
        self.now += timedelta(seconds=seconds)
        for work in (
            self._garbage,
            self._deployments,
            self._stateful_sets,
            self._jobs,
            self._preparers,
            self._kubelet,
            self._jobs,
            self._deployments,
        ):
            work()

    def select(self, kind):
        """The objects of a kind by name, not copied: for reading only."""
        found = sorted(self.cluster.objects.items())
        return [body for ref, body in found if ref.kind == kind]

    def live_pods(self):
        return [pod for pod in self.select("Pod") if alive(pod)]

    def _garbage(self):
        self.cluster.collect_garbage()

    def _make_pod(self, owner, kind, name, template, extra):
        labels = dict(template["metadata"]["labels"]) | extra
        self.cluster.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": name,
                    "namespace": NAMESPACE,
                    "labels": labels,
                    "finalizers": ["test/kubelet"],
                    "ownerReferences": [
                        {
                            "kind": kind,
                            "name": owner["metadata"]["name"],
                            "apiVersion": "x",
                            "uid": owner["metadata"]["uid"],
                            "controller": True,
                        }
                    ],
                },
                "spec": template["spec"],
                "status": {"phase": "Pending"},
            }
        )

    def _of(self, owner):
        uid = owner["metadata"]["uid"]
        return [
            p
            for p in self.select("Pod")
            if any(o["uid"] == uid for o in p["metadata"].get("ownerReferences", ()))
        ]

    def _deployments(self):
        for deployment in self.select("Deployment"):
            if deployment["metadata"].get("deletionTimestamp"):
                continue
            template = deployment["spec"]["template"]
            pods = [p for p in self._of(deployment) if not gone(p)]
            fresh = [
                p
                for p in pods
                if p["spec"] == template["spec"]
                and template["metadata"]["labels"].items() <= p["metadata"]["labels"].items()
            ]
            old = [p for p in pods if p not in fresh]
            wanted = deployment["spec"].get("replicas", 1)
            for _ in range(wanted - len(fresh)):
                self.born += 1
                name = f"{deployment['metadata']['name']}-{self.born}"
                self._make_pod(deployment, "ReplicaSet", name, template, {})
            # Those that are not up first, then by their cost, then the youngest.
            fresh.sort(key=lambda p: (not ready(p), -cost(p)))
            surplus = fresh[wanted:]
            if len([p for p in fresh if ready(p)]) >= min(wanted, 1):
                surplus += old
            for pod in surplus:
                self.cluster.remove(ref(pod))
            pods = [p for p in self._of(deployment) if not gone(p)]
            status = {
                "observedGeneration": deployment["metadata"]["generation"],
                "replicas": len(pods),
                "updatedReplicas": len([p for p in pods if p in fresh]),
                "readyReplicas": len([p for p in pods if ready(p)]),
            }
            if deployment.get("status") != status:
                self.cluster.edit(ref(deployment), lambda d, s=status: d.update(status=s))

    def _stateful_sets(self):
        """One pod per ordinal; one that is gone, and said so, is made anew under its name."""
        for owner in self.select("StatefulSet"):
            if gone(owner):
                continue
            there = {p["metadata"]["labels"][INDEX] for p in self._of(owner)}
            for index in map(str, range(owner["spec"]["replicas"])):
                if index not in there:
                    self.born += 1
                    name = f"{owner['metadata']['name']}-{index}-{self.born}"
                    template = owner["spec"]["template"]
                    self._make_pod(owner, "StatefulSet", name, template, {INDEX: index})

    def whole(self, leader):
        """Whether all pods of a replica run; one of one pod always is."""
        sets = [s for s in self.select("StatefulSet") if owned_by(s, leader)]
        server = leader["spec"]["containers"][0]
        told = next((v["value"] for v in server["env"] if v["name"] == "PREAMAR_GROUP"), None)
        if told is None or "leader" in loads(told):
            return True
        pods = [p for each in sets for p in self._of(each)]
        running = [p for p in pods if p["status"]["phase"] == "Running" and not gone(p)]
        return len(running) == loads(told)["size"] - 1

    def _jobs(self):
        for job in self.select("Job"):
            if kind_of(job) in {"", "FailureTarget"} and not gone(job):
                self._job(job)

    def _job(self, job):
        """One pod per index; the first that fails or vanishes ends them all."""
        pods, before = self._of(job), job.get("status", {})
        wanted = job["spec"]["completions"]
        self.sizes[job["metadata"]["labels"].get(ATTEMPT)] = wanted
        status = {"startTime": before.get("startTime", self.time())}
        seen = {p["metadata"]["labels"][INDEX] for p in pods}
        # A pod that is being deleted has failed, whether its node says so or not.
        lost = bool(before.get("active") or kind_of(job)) and len(seen) < wanted
        lost = lost or any(gone(p) and p["metadata"]["name"] in self.lost for p in pods)
        if lost or any(p["status"]["phase"] == "Failed" for p in pods):
            for pod in pods:
                if alive(pod) and not gone(pod):
                    self.cluster.remove(ref(pod))
            over = not any(alive(p) for p in self._of(job))
            status["conditions"] = [self._condition("Failed" if over else "FailureTarget")]
        elif sum(p["status"]["phase"] == "Succeeded" for p in pods) == wanted:
            status["conditions"] = [self._condition("Complete")]
        else:
            for index in range(wanted):
                if str(index) not in seen:
                    # A Job of the same name may have had one before, which is still going.
                    self.born += 1
                    name = f"{job['metadata']['name']}-{index}-{self.born}"
                    self._make_pod(job, "Job", name, job["spec"]["template"], {INDEX: str(index)})
            status["active"] = wanted
        if before != status:
            self.cluster.edit(ref(job), lambda d: d.update(status=status))

    def _condition(self, kind):
        why = {} if kind == "Complete" else {"reason": "BackoffLimitExceeded"}
        return {"type": kind, "status": "True", "lastTransitionTime": self.time(), **why}

    def _preparers(self):
        for pod in filter(prepares, self.select("Pod")):
            self._prepare(pod, pod["status"]["phase"])

    @property
    def steps_left(self):
        return self.ranks.steps_left

    @steps_left.setter
    def steps_left(self, steps):
        self.ranks.steps = self.ranks.steps_left = steps

    def _owner(self, pod):
        uid = pod["metadata"]["ownerReferences"][0]["uid"]
        return next((j for j in self.select("Job") if j["metadata"]["uid"] == uid), None)

    def _trains(self, pod):
        """A rank that runs loads, trains, hears the agent, and ends."""
        name, job = pod["metadata"]["name"], self._owner(pod)
        if job is None:
            return
        # One that has ended well was up, and its peers were with it.
        up = {p["status"]["phase"] for p in self._of(job)} <= {"Running", "Succeeded"} and (
            len(self._of(job)) == job["spec"]["completions"]
        )
        if name in self.failing:
            code, kind = self.failing.pop(name)
            self._end(pod, code, {"outcome": "Failed", "class": kind, "explanation": "as told"})
        elif self.ranks.told(job):
            loaded = name in self.loaded
            stop = self.ranks.stop if loaded else lambda j: self.ranks.words("Stopped", j)
            self._end(pod, 75, stop(job))
        elif name not in self.loaded and not up:
            return  # it waits for the others
        elif name not in self.loaded and (words := self.ranks.load(job)):
            self._end(pod, 1, words)
        elif self.ranks.steps_left <= 0:
            self._end(pod, 0, self.ranks.words("Done", job))
        else:
            self.loaded.add(name)

    def _kubelet(self):
        heard = [p for p in self.select("Pod") if p["metadata"]["name"] not in self.lost]
        for pod in [each for each in heard if not prepares(each)]:
            labels = pod["metadata"]["labels"]
            phase, trainer = pod["status"]["phase"], ATTEMPT in labels
            name = pod["metadata"]["name"]
            if gone(pod) and name not in self.ending and not self._overdue(pod):
                self.ending.add(name)  # ending takes a while
            elif gone(pod):
                self.ending.discard(name)
                if trainer and phase == "Running" and name in self.loaded and self.owns(labels):
                    job = self._owner(pod)
                    # The kubelet of a Job that is gone still lets its ranks save.
                    self._end(pod, 75, self.ranks.stop(job or self.of_a_gone_job(labels)))
                self.cluster.edit(ref(pod), lambda p: p["metadata"].update(finalizers=[]))
            elif phase == "Pending":
                self._place(pod)
            elif phase == "Running" and CONVERSION in labels:
                self._end(pod, *self.ranks.convert(), container="converter")
            elif phase == "Running" and not trainer and SCOUT not in labels:
                self._serves(pod)
            elif phase == "Running" and trainer:
                self._trains(pod)
        training = [p for p in self.live_pods() if ATTEMPT in p["metadata"]["labels"]]
        if {p["status"]["phase"] for p in training if not gone(p)} == {"Running"}:
            self.ranks.steps_left -= 1  # nothing trains until all are up

    def _serves(self, pod):
        """A replica loads its model and is ready, or ends and is started again."""
        status = self._ends_again(pod)
        if status is None and ready(pod) and not self.whole(pod):
            status = self._running(pod["metadata"]["name"], ready=False)
        if status is None and self.model_loads and not ready(pod) and self.whole(pod):
            running = {"state": {"running": {"startedAt": self.time()}}}
            servers = [c | running for c in containers(pod) if c["name"] == "triton"]
            status = self._running(pod["metadata"]["name"], ready=True)
            status["containerStatuses"] = servers
        if status not in (None, pod["status"]):
            self.cluster.edit(ref(pod), lambda p: p.update(status=status))

    def _ends_again(self, pod):
        name, end = "triton", {"exitCode": 1, "reason": "Error", "message": "as told"}
        if batch_of(pod) > self.fits:
            name = "triton" if self.fits >= 0 else "model"
            end = {"exitCode": 137, "reason": "OOMKilled"}
        elif not self.crashes or ready(pod):
            return None
        if any(c["lastState"]["terminated"]["finishedAt"] == self.time() for c in containers(pod)):
            return pod["status"]  # a start takes a while
        container = {
            "name": name,
            "restartCount": restarts(pod) + 1,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": end | {"finishedAt": self.time()}},
        }
        kind = "initContainerStatuses" if name == "model" else "containerStatuses"
        return self._running(pod["metadata"]["name"], ready=False) | {kind: [container]}

    def _overdue(self, pod):
        """A kubelet that lives does not take a minute to end what must end now."""
        since = datetime.fromisoformat(pod["metadata"]["deletionTimestamp"])
        return (self.now - since).total_seconds() > 30

    def owns(self, labels):
        """Whether no later attempt has claimed the store, so that ranks of this one may save."""
        others = [p["metadata"] for p in self.select("Pod") if p["metadata"]["name"] in self.loaded]
        return all(int(labels[ATTEMPT]) >= int(m["labels"].get(ATTEMPT, 0)) for m in others)

    def lose(self, pod):
        """Its node is gone: nothing of it is heard, and Kubernetes deletes what was there."""
        self.lost.add(pod["metadata"]["name"])
        self.cluster.remove(ref(pod))

    def of_a_gone_job(self, labels):
        """As much of a deleted Job as its ranks remember."""
        size = self.sizes.get(labels[ATTEMPT], 1)
        return {"metadata": {"labels": labels}, "spec": {"completions": size}}

    def _prepare(self, pod, phase):
        """A pod that prepares data: it starts, and has done it or failed at the next look."""
        if gone(pod):
            self.cluster.edit(ref(pod), lambda p: p["metadata"].update(finalizers=[]))
        elif phase == "Pending":
            status = self._running(pod["metadata"]["name"], ready=True)
            self.cluster.edit(ref(pod), lambda p: p.update(status=status))
        elif phase == "Running":
            code, kind = self.prepare_fails.pop() if self.prepare_fails else (0, "")
            words = {"outcome": "Failed", "class": kind, "explanation": "as told"}
            if not code:
                self.prepared += 1
                words = {"outcome": "Prepared", "uri": "pvc://data/c/k-1", "digest": "sha256:1"}
            self._end(pod, code, words, "prepare")

    def _place(self, pod):
        taken = len([p for p in self.select("Pod") if p["status"]["phase"] == "Running"])
        full = taken >= self.room
        status = NO_ROOM if full else self._running(pod["metadata"]["name"], ready=False)
        if pod["status"] != status:
            self.cluster.edit(ref(pod), lambda p: p.update(status=status))

    def _running(self, name, *, ready):
        return {
            "phase": "Running",
            "podIP": f"ip-of-{name}",
            "conditions": [
                {"type": "Ready", "status": str(ready), "lastTransitionTime": self.time()}
            ],
        }

    def _end(self, pod, code, words, container="trainer"):
        state = {"exitCode": code, "finishedAt": self.time(), "message": dumps(words)}
        status = {
            "phase": "Failed" if code else "Succeeded",
            "containerStatuses": [{"name": container, "state": {"terminated": state}}],
        }
        self.cluster.edit(ref(pod), lambda p: p.update(status=status))


class Died(BaseException):
    """The operator is gone between two writes."""


NO_ROOM = {
    "phase": "Pending",
    "conditions": [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
        }
    ],
}
INDEX = "batch.kubernetes.io/job-completion-index"
ROOMY = 999


def ref(body):
    metadata = body["metadata"]
    return Ref(body["apiVersion"], body["kind"], metadata.get("namespace", ""), metadata["name"])


def prepares(pod):
    return "preamar.dev/data" in pod["metadata"]["labels"]


def gone(pod):
    return "deletionTimestamp" in pod["metadata"]


def owned_by(body, owner):
    return any(o["uid"] == owner["metadata"]["uid"] for o in body["metadata"]["ownerReferences"])


def kind_of(job):
    conditions = job.get("status", {}).get("conditions") or [{"type": ""}]
    return conditions[-1]["type"]


def cost(pod):
    annotations = pod["metadata"].get("annotations", {})
    return int(annotations.get("controller.kubernetes.io/pod-deletion-cost", 0))


def containers(pod):
    status = pod["status"]
    return status.get("containerStatuses", []) + status.get("initContainerStatuses", [])


def restarts(pod):
    return max([0, *(c.get("restartCount", 0) for c in containers(pod))])


def batch_of(pod):
    """The batch that a replica, or what makes it, was ordered to have."""
    order = loads(pod["spec"]["initContainers"][0]["env"][0]["value"])
    return order["batching"]["maxBatchSize"]


def alive(pod):
    return pod["status"]["phase"] in {"Pending", "Running"}


def ready(pod):
    return any(
        c["type"] == "Ready" and c["status"] == "True"
        for c in pod.get("status", {}).get("conditions", ())
    )
