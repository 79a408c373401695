"""The cluster's part in what is made before a model is served: Jobs whose pods build engines, and the
volume that these are kept on. It knows the words that pods are given and told, and none of our decisions.
"""

from json import dumps

from preamar.core.plan import Ref
from tests.core.builders import order_of, products_of
from tests.life.world import NAMESPACE, World, alive, gone, kind_of, ref

WORKS = "preamar.dev/works-for"
OLD = "old"
"""A product that cannot compute in FP8."""


class Workshop(World):
    """``fails``: what the next pods that build end with. ``kept``: what lies on the volume, by the
    artefact's folder and the product: what it was made of. ``started_from_nothing``: replicas whose
    artefact was not there."""

    def __init__(self):
        super().__init__()
        self.fails, self.kept, self.started_from_nothing = [], {}, []
        self.clock, self.begun = 0, {}  # of the volume; when each pod began
        self.emptied = False  # whether somebody has emptied it

    def _jobs(self):
        for job in self.select("Job"):
            if kind_of(job) == "" and not gone(job):
                self._job(job)

    def _job(self, job):
        """One pod after another until one succeeds, four have failed, or one may not be tried again."""
        pods = self._of(job)
        failed = [p for p in pods if p["status"]["phase"] == "Failed"]
        refused = [p for p in failed if _code(p) == 64]
        if any(p["status"]["phase"] == "Succeeded" for p in pods):
            found = [{"type": "Complete", "status": "True"}]
        elif refused or len(failed) > job["spec"]["backoffLimit"]:
            why = "PodFailurePolicy" if refused else "BackoffLimitExceeded"
            found = [{"type": "Failed", "status": "True", "reason": why}]
        else:
            found = []
            if not any(alive(p) and not gone(p) for p in pods):
                self.born += 1
                name, template = f"{job['metadata']['name']}-{self.born}", job["spec"]["template"]
                uid = {"batch.kubernetes.io/controller-uid": job["metadata"]["uid"]}
                self._make_pod(job, "Job", name, template, uid)
                made = Ref("v1", "Pod", NAMESPACE, name)
                told = template["metadata"]["annotations"]
                self.cluster.edit(made, lambda p: p["metadata"].update(annotations=told))
        if found and job.get("status", {}).get("conditions") != found:
            self.cluster.edit(ref(job), lambda d: d.update(status={"conditions": found}))

    def _preparers(self):
        for pod in [p for p in self.select("Pod") if WORKS in p["metadata"]["labels"]]:
            if gone(pod) and pod["metadata"]["name"] not in self.ending:
                self.ending.add(pod["metadata"]["name"])  # SIGTERM alone does not end it
                if pod["status"]["phase"] == "Running":
                    self._builds(pod)
            elif gone(pod):
                self.cluster.edit(ref(pod), lambda p: p["metadata"].update(finalizers=[]))
            elif pod["status"]["phase"] == "Pending":
                self.begun[pod["metadata"]["name"]] = self.clock
                status = self._running(pod["metadata"]["name"], ready=True)
                self.cluster.edit(ref(pod), lambda p, s=status: p.update(status=s))
            elif pod["status"]["phase"] == "Running":
                self._builds(pod)

    def _builds(self, pod):
        order = order_of(pod["spec"]["containers"][0], "PREAMAR_OPTIMIZE")
        product = (products_of(pod["spec"]) or ["any"])[0]
        if self.fails:
            self._end(pod, self.fails.pop(), "as told", "optimize")
        elif order["precision"] == "FP8" and product == OLD:
            words = {"reason": "OptimizationUnsupported", "message": "no FP8 here"}
            self._end(pod, 64, words, "optimize")
        else:
            target = order["target"]
            made = made_of(order, pod["spec"]["containers"][0]["image"])
            self.clock += 1
            self.kept[target, product] = (made, self.clock)
            words = {"engine": {"product": product, "tensorrt": "11"}, "after": {"bytes": 1}}
            self._end(pod, 0, words, "optimize")
            allowed = {target, *(f"/mnt/cache/.optimized/{name}" for name in order["kept"])}
            since = self.begun[pod["metadata"]["name"]]
            spared = {at[0] for at, (_, when) in self.kept.items() if when > since}
            self.kept = {k: v for k, v in self.kept.items() if k[0] in allowed | spared}

    def _kubelet(self):
        apart = {
            p["metadata"]["name"] for p in self.select("Pod") if WORKS in p["metadata"]["labels"]
        }
        for pod in self.select("Pod"):
            name = pod["metadata"]["name"]
            starts = name not in apart and pod["status"]["phase"] == "Pending" and not gone(pod)
            if starts and not self._finds(pod):
                apart.add(name)
        self.lost |= apart  # they are not replicas, or start again and again
        super()._kubelet()
        self.lost -= apart

    def _finds(self, pod):
        """Whether a replica finds its model when it starts."""
        order = order_of(pod["spec"]["initContainers"][0], "PREAMAR_MODEL")
        optimized = order["source"].startswith("/mnt/cache/.optimized/")
        if not optimized or any(at == order["source"] for at, _ in self.kept):
            return True
        if not self.emptied:
            self.started_from_nothing.append((pod["metadata"]["name"], order["source"]))
        words = dumps({"reason": "ArtefactMissing", "message": "it is gone"})
        end = {"exitCode": 64, "finishedAt": self.time(), "message": words}
        waits = {"name": "model", "state": {"waiting": {}}, "lastState": {"terminated": end}}
        status = {"phase": "Pending", "initContainerStatuses": [waits]}
        self.cluster.edit(ref(pod), lambda p: p.update(status=status))
        return False


def made_of(order, image):
    """What decides about an engine, as its order says it."""
    return dumps([order["source"], order["precision"], order["maxBatchSize"], image])


def _code(pod):
    return pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"]
