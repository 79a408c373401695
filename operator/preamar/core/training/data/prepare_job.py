"""What does the Job look like that prepares the data?

An Indexed Job whose pods share the work; the first decides, so the Job is over when that one is.
A user's error (exit 64) ends it at once; a pod that was taken away does not count as a failure.
"""

from json import dumps
from typing import Any

from preamar.api.shared import Accelerator, AcceleratorType
from preamar.api.training import TrainingJob
from preamar.core.metadata import child_metadata, restricted_container, restricted_pod
from preamar.core.placement import environment, resources_of, scheduling, threads
from preamar.core.plan import Manifest
from preamar.core.settings import Settings
from preamar.core.training.backends.chosen import BACKEND
from preamar.core.training.data.preparing import KEY, key_of
from preamar.core.training.observe import prepare_name
from preamar.core.training.pods.desired import KIND, QUEUE_LABEL, labels
from preamar.core.training.pods.material import (
    TARGET,
    Mounted,
    claimed,
    inside,
    secrets,
    source_words,
    text_mounts,
)
from preamar.core.training.pods.pod import AGENT_PORT

USERS = 64  # exit code of a user's error
RETRIES = 6
LONGEST_SECONDS = 7 * 24 * 3600
DEFAULTS = {"cpu": "100m", "memory": "1Gi"}
CPU = Accelerator(type=AcceleratorType.CPU)


def prepare_job(job: TrainingJob, settings: Settings) -> Manifest:
    """The Job, for a spec that asks for it."""
    prepare = job.spec.data.prepare
    assert prepare is not None
    key = key_of(job)
    own = labels(job) | {"app.kubernetes.io/component": "prepare", KEY: key}
    metadata: dict[str, Any] = child_metadata(KIND, job.metadata, prepare_name(job), own)
    metadata["annotations"] = {KEY: key}
    if job.spec.queue_name:
        metadata["labels"] = own | {QUEUE_LABEL: job.spec.queue_name}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "completionMode": "Indexed",
            "completions": prepare.workers,
            "parallelism": prepare.workers,
            "backoffLimit": RETRIES,
            "activeDeadlineSeconds": LONGEST_SECONDS,
            "successPolicy": {"rules": [{"succeededIndexes": "0"}]},
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "FailJob",
                        "onExitCodes": {
                            "containerName": "prepare",
                            "operator": "In",
                            "values": [USERS],
                        },
                    },
                    {
                        "action": "Ignore",
                        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                    },
                ]
            },
            "template": {"metadata": {"labels": own}, "spec": _pod(job, settings)},
        },
    }


def _pod(job: TrainingJob, settings: Settings) -> dict[str, Any]:
    spec, prepare, name = job.spec, job.spec.data.prepare, prepare_name(job)
    assert prepare is not None
    count = threads(prepare.resources)
    ours = {
        "MASTER_ADDR": f"{name}-0.{job.metadata.name}-ranks",
        "PREAMAR_AGENT_PORT": str(AGENT_PORT),
        "PREAMAR_PREPARE": dumps(order(job), sort_keys=True),
        "OMP_NUM_THREADS": count,
        "RAYON_NUM_THREADS": count,
        "HOME": "/tmp",  # noqa: S108
        **BACKEND.preparer.environment,
    }
    volumes, mounts = claimed(
        [*text_mounts(spec.data), Mounted(TARGET, prepare.target, read_only=False)]
    )
    more, where = secrets(spec.data)
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "subdomain": f"{job.metadata.name}-ranks",
        "securityContext": restricted_pod(),
        "containers": [
            {
                "name": "prepare",
                "image": settings.images[BACKEND.image],
                "imagePullPolicy": settings.image_pull_policy,
                "command": [*BACKEND.preparer.command],
                "env": environment(ours, spec.env),
                "resources": resources_of(prepare.resources, CPU, DEFAULTS),
                "securityContext": restricted_container(),
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "volumeMounts": [
                    *mounts,
                    *where,
                    {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
                ],
            }
        ],
        "volumes": [*volumes, *more, {"name": "tmp", "emptyDir": {}}],
        **scheduling(spec.placement, CPU),
    }
    if spec.service_account_name:
        pod["serviceAccountName"] = spec.service_account_name
    if spec.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": s.name} for s in spec.image_pull_secrets]
    return pod


def order(job: TrainingJob) -> dict[str, Any]:
    """What the pods are told, as inside.md says."""
    prepare, model = job.spec.data.prepare, job.spec.model
    assert prepare is not None
    return {
        "job": f"{job.metadata.namespace}/{job.metadata.name}",
        "key": key_of(job),
        "data": {"sources": [source_words(source) for source in job.spec.data.sources]},
        "model": {"preset": model.preset, "parameters": dict(model.parameters)},
        "filters": prepare.filters.model_dump(by_alias=True, mode="json"),
        "deduplicate": prepare.deduplicate.value,
        "similarity": prepare.similarity,
        "target": inside(TARGET, prepare.target),
        "uri": prepare.target,
    }
