"""What should exist for a training job?

A headless Service under which ranks find each other, and one Indexed Job per attempt. A Job is
never changed once it is made, because its pods' template cannot be: a change is the next attempt.
"""

from collections.abc import Mapping
from typing import Any

from preamar.api.training import TrainingJob
from preamar.core.metadata import child_metadata, labels_of
from preamar.core.plan import Manifest, digest_of
from preamar.core.settings import Settings
from preamar.core.training.backends.chosen import BACKEND
from preamar.core.training.planner.sizes import Split
from preamar.core.training.pods.pod import AGENT_PORT, MASTER_PORT, pod_spec
from preamar.protocol.labels import ATTEMPT_LABEL, JOB_LABEL, ORDER

KIND = "TrainingJob"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
# Fields which concern us and not the ranks.
NOT_IN_ORDER = {
    "workers": {"replicas", "min", "max"},
    "suspend": True,
    "restarts": True,
    "priority": True,
    "lending": True,
    "budget": True,
    "finish_by": True,
    "active_deadline_seconds": True,
    "ttl_seconds_after_finished": True,
}


def order_digest(job: TrainingJob) -> str:
    """What the ranks are told by the present spec."""
    spec = job.spec.model_dump(by_alias=True, mode="json", exclude=NOT_IN_ORDER)  # type: ignore[arg-type]
    return digest_of(spec)[:10]


def labels(job: TrainingJob) -> dict[str, str]:
    """The labels of the children and their pods."""
    return labels_of(JOB_LABEL, job.metadata.name, BACKEND.name, "trainer")


def service(job: TrainingJob) -> Manifest:
    """The name service of the ranks."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": child_metadata(KIND, job.metadata, f"{job.metadata.name}-ranks", labels(job)),
        "spec": {
            "clusterIP": "None",
            # Ranks must find each other before any is ready.
            "publishNotReadyAddresses": True,
            "selector": {JOB_LABEL: job.metadata.name},
            "ports": [
                {"name": "master", "port": MASTER_PORT, "protocol": "TCP"},
                {"name": "agent", "port": AGENT_PORT, "protocol": "TCP"},
            ],
        },
    }


def attempt(
    job: TrainingJob,
    settings: Settings,
    number: int,
    workers: int,
    step: Split,
    before: Mapping[str, str],
    mean_seconds: int,
) -> Manifest:
    """One attempt with so many workers; the whole gang ends with the first pod that fails.
    ``before`` are annotations: what it must know of those before it, and of its size.
    ``mean_seconds`` is the time between faults that is expected."""
    own = labels(job) | {ATTEMPT_LABEL: str(number)}
    metadata: dict[str, Any] = child_metadata(
        KIND, job.metadata, f"{job.metadata.name}-{number}", own
    )
    metadata["annotations"] = {**before, ORDER: order_digest(job)}
    if job.spec.queue_name:
        metadata["labels"] = own | {QUEUE_LABEL: job.spec.queue_name}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "completionMode": "Indexed",
            "completions": workers,
            "parallelism": workers,
            "backoffLimit": 0,
            "template": {
                "metadata": {"labels": own},
                "spec": pod_spec(job, settings, number, workers, step, mean_seconds),
            },
        },
    }
