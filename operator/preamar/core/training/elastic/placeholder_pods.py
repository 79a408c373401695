"""Is there room for the workers that a job trains without?

A job that runs with fewer workers than were asked for keeps pods in the scheduler's queue that ask
for the same places and do nothing: scouts. They cost nothing while they wait, they are what a
cluster's autoscaler looks at, and training goes on meanwhile. Once all have places, or some that
make a larger size and the others have not come within a minute, the ranks save and stop, the scouts
leave and the job grows. Those that hold places which are no use to it give them back, and come
again after a pause which doubles each time; so they do where a growth found its places taken.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from preamar.api.training import TrainingJob
from preamar.core.metadata import child_metadata, labels_of
from preamar.core.plan import Manifest
from preamar.core.pods import OVER, PodView
from preamar.core.settings import Settings
from preamar.core.timestamps import stamp
from preamar.core.training.backends.chosen import BACKEND
from preamar.core.training.elastic import gang
from preamar.core.training.elastic.degraded_size import SETTLE_SECONDS
from preamar.core.training.elastic.size import largest
from preamar.core.training.facts import Facts
from preamar.core.training.observe import JobView, scout_name
from preamar.core.training.planner.sizes import Split
from preamar.core.training.pods.desired import KIND, QUEUE_LABEL
from preamar.core.training.pods.pod import pod_spec
from preamar.protocol.labels import JOB_LABEL, SCOUT_LABEL

FOUND = "PlacesFound"
KEPT = ("affinity", "nodeSelector", "tolerations", "serviceAccountName", "imagePullSecrets")


@dataclass(frozen=True, slots=True)
class PlaceholderPods:
    """Those of the last attempt. ``missing`` workers is what they should look for places for;
    ``found`` is the size for which there are places, 0 while there is none; ``useless`` says that
    they hold places for nothing, or cannot run at all; time alone changes that in ``recheck_in``
    seconds."""

    view: JobView | None = None
    missing: int = 0
    found: int = 0
    useless: bool = False
    recheck_in: float | None = None


NONE = PlaceholderPods()


def scouts_of(facts: Facts) -> PlaceholderPods:
    """What they are for, and how far they are."""
    last, spec = facts.last, facts.job.spec
    if last is None or facts.notes.fewer is None:
        return NONE
    rest = gang.rest(facts)
    resting = spec.suspend or facts.over or last.deleting or last.suspended
    idle = resting or not facts.complete or rest > 0
    size = 0 if idle else largest(facts.sizes, spec.workers.replicas)
    missing = max(0, size - last.workers)
    scouts = facts.observed.scouts
    view = next((v for v in scouts if v.scout == last.attempt and not v.deleting), None)
    if view is None:
        return PlaceholderPods(None, missing, recheck_in=rest or None)
    pods = [p for p in pods_of(facts, (view,)) if not p.deleting]
    places = sum([gang.placed(p) for p in pods])
    waited = None if view.started is None else (facts.now - view.started).total_seconds()
    wait = min(SETTLE_SECONDS, facts.observed.settings.gang_seconds)
    # All have places, or those that have none had time enough to find one.
    decided = places >= view.workers or (waited is not None and waited >= wait)
    found = 0
    if decided and missing > 0 and view.workers == missing:
        size = largest(facts.sizes, last.workers + places)
        found = size if size > last.workers else 0
    over = view.complete or view.failed
    useless = missing > 0 and not found and (over or (places > 0 and decided))
    left = rest if waited is None else max(0.0, wait - waited)
    return PlaceholderPods(view, missing, found, useless, left or None)


def dismissed(facts: Facts, scouts: PlaceholderPods, *, looking: bool) -> tuple[JobView, ...]:
    """Those that look for nothing, or for another attempt. They keep places that they found for
    the attempt which is about to start, unless it needs those now: then nobody is ``looking``."""
    every = [view for view in facts.observed.scouts if not view.deleting]
    last, order = facts.last, facts.notes.order
    if not looking or last is None or facts.job.spec.suspend:
        return tuple(every)
    if order is not None:
        # A converter needs no accelerator, but a place on a node that may have no other.
        crowded = any(p.unschedulable for each in facts.conversions for p in each.pods)
        kept = order.reason == FOUND and not crowded
    else:
        kept = not scouts.useless
    return tuple(
        view
        for view in every
        if not kept
        or view.scout != last.attempt
        or (order is None and view.workers != scouts.missing)
    )


def given_back(facts: Facts) -> dict[str, Any]:
    """``status.gang`` once scouts left for nothing."""
    before = facts.job.status.gang
    return {
        **(before.model_dump(by_alias=True, exclude_none=True, mode="json") if before else {}),
        "incomplete": (before.incomplete if before else 0) + 1,
        "at": stamp(facts.now),
    }


def pods_of(facts: Facts, views: Iterable[JobView]) -> tuple[PodView, ...]:
    """The pods of these Jobs of scouts."""
    numbers = {str(view.scout) for view in views}
    return tuple([p for p in facts.observed.pods if p.labels.get(SCOUT_LABEL) in numbers])


def alive(facts: Facts) -> bool:
    """Whether scouts hold anything."""
    return any(p.phase not in OVER for p in pods_of(facts, facts.observed.scouts))


def scouts(job: TrainingJob, settings: Settings, last: JobView, number: int) -> Manifest:
    """The Job of so many scouts: a worker's demands on a node, and nothing to do there."""
    labels = labels_of(JOB_LABEL, job.metadata.name, BACKEND.name, "scout")
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
