"""Is there room for the workers that a job trains without?

A job that runs with fewer workers than were asked for keeps pods in the scheduler's queue that ask
for the same places and do nothing: scouts. They cost nothing while they wait, they are what a
cluster's autoscaler looks at, and training goes on meanwhile. Once all have places, or some that
make a larger size and the others have not come within a minute, the ranks save and stop, the scouts
leave and the job grows. Those that hold places which are no use to it give them back, and come
again after a pause which doubles each time; so they do where a growth found its places taken.
"""

from typing import Any

from preamar.api.training import TrainingJob
from preamar.core.metadata import child_metadata, labels_of
from preamar.core.plan import Manifest
from preamar.core.pods import PodView
from preamar.core.settings import Settings
from preamar.core.timestamps import stamp
from preamar.core.training.annotations import STOP, Resize
from preamar.core.training.attempts.endings import converters
from preamar.core.training.elastic import gang
from preamar.core.training.elastic.degraded_size import SETTLE_SECONDS, Fewer, largest
from preamar.core.training.observe import (
    JOB_LABEL,
    SCOUT_LABEL,
    JobView,
    Observed,
    scout_name,
)
from preamar.core.training.planner.sizes import Split
from preamar.core.training.planner.sizing_problem import Terms
from preamar.core.training.pods.desired import KIND, QUEUE_LABEL
from preamar.core.training.pods.pod import pod_spec

FOUND = "PlacesFound"
KEPT = ("affinity", "nodeSelector", "tolerations", "serviceAccountName", "imagePullSecrets")


def missing(observed: Observed, last: JobView) -> int:
    """For how many workers places are looked for."""
    wish, fewer = observed.job.spec.workers.replicas, Fewer.of(last)
    resting = observed.job.spec.suspend or last.over or last.deleting or last.suspended
    if fewer is None or resting or not gang.complete(observed, last) or gang.rest(observed) > 0:
        return 0
    size = largest(Terms.of(observed.job.spec), wish)
    return max(0, size - last.workers)


def found(observed: Observed, last: JobView) -> int:
    """The size for which there are places; 0 while there is none."""
    view, wanted = of(observed, last), missing(observed, last)
    if view is None or wanted == 0 or view.workers != wanted or not _decided(observed, view):
        return 0
    size = largest(Terms.of(observed.job.spec), last.workers + _placed(observed, view))
    return size if size > last.workers else 0


def useless(observed: Observed, last: JobView) -> bool:
    """Whether they hold places for nothing, or cannot run at all."""
    view = of(observed, last)
    if view is None or missing(observed, last) == 0 or found(observed, last):
        return False
    return view.over or (_placed(observed, view) > 0 and _decided(observed, view))


def kept(observed: Observed, last: JobView | None, view: JobView) -> bool:
    """Whether these may stay: they look for places, or keep those that they found for the attempt
    which is about to start."""
    if last is None or view.scout != last.attempt or observed.job.spec.suspend:
        return False
    order = Resize.of(last.annotations, STOP)
    if order is not None:
        # A converter needs no accelerator, but a place on a node that may have no other.
        return order.reason == FOUND and not any(
            p.unschedulable for v in observed.conversions for p in converters(v, observed.pods)
        )
    return view.workers == missing(observed, last) and not useless(observed, last)


def given_back(observed: Observed) -> dict[str, Any]:
    """``status.gang`` once scouts left for nothing."""
    before = observed.job.status.gang
    return {
        **(before.model_dump(by_alias=True, exclude_none=True, mode="json") if before else {}),
        "incomplete": (before.incomplete if before else 0) + 1,
        "at": stamp(observed.now),
    }


def of(observed: Observed, last: JobView) -> JobView | None:
    """The scouts of an attempt."""
    return next((v for v in observed.scouts if v.scout == last.attempt and not v.deleting), None)


def alive(observed: Observed) -> bool:
    """Whether scouts hold anything."""
    return any(not pod.over for view in observed.scouts for pod in pods_of(view, observed))


def pods_of(view: JobView, observed: Observed) -> tuple[PodView, ...]:
    """The pods of one Job of scouts."""
    return tuple(p for p in observed.pods if p.labels.get(SCOUT_LABEL) == str(view.scout))


def recheck_in(observed: Observed, last: JobView) -> float | None:
    """Seconds until time alone changes the answer."""
    if Fewer.of(last) is None:
        return None
    view, rest = of(observed, last), gang.rest(observed)
    if view is None or view.started is None:
        return rest or None
    return max(0.0, _wait(observed) - (observed.now - view.started).total_seconds()) or None


def scouts(job: TrainingJob, settings: Settings, last: JobView, number: int) -> Manifest:
    """The Job of so many scouts: a worker's demands on a node, and nothing to do there."""
    labels = labels_of(JOB_LABEL, job.metadata.name, "deepspeed", "scout")
    labels |= {SCOUT_LABEL: str(last.attempt)}
    name = scout_name(job.metadata.name, last.attempt)
    metadata: dict[str, Any] = child_metadata(KIND, job.metadata, name, labels)
    if job.spec.queue_name:
        metadata["labels"] = labels | {QUEUE_LABEL: job.spec.queue_name}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "completionMode": "Indexed",
            "completions": number,
            "parallelism": number,
            "template": {"metadata": {"labels": labels}, "spec": _pod(job, settings, last)},
        },
    }


def _pod(job: TrainingJob, settings: Settings, last: JobView) -> dict[str, Any]:
    worker = pod_spec(job, settings, last.attempt, last.workers, Split(1, 1), 0)
    trainer = worker["containers"][0]
    named = ("image", "imagePullPolicy", "resources", "securityContext")
    return {
        **{key: worker[key] for key in KEPT if key in worker},
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "OnFailure",
        "securityContext": worker["securityContext"],
        "terminationGracePeriodSeconds": 1,  # nothing of it is worth waiting for
        "containers": [
            {"name": "scout", "command": ["sleep", "infinity"]}
            | {key: trainer[key] for key in named},
        ],
    }


def _placed(observed: Observed, view: JobView) -> int:
    return sum(gang.placed(p) for p in pods_of(view, observed) if not p.deleting)


def _decided(observed: Observed, view: JobView) -> bool:
    """Whether all have places, or those that have none had time enough to find one."""
    if _placed(observed, view) >= view.workers:
        return True
    began = view.started
    return began is not None and (observed.now - began).total_seconds() >= _wait(observed)


def _wait(observed: Observed) -> int:
    return min(SETTLE_SECONDS, observed.settings.gang_seconds)
