"""What converts a checkpoint between two sizes?

A Job of one pod without accelerators runs the trainer's converter. It may be tried again; an end that another
try would only repeat is final at once.
"""

from json import dumps
from typing import Any

from preamar.api.fields.uri import ModelUri
from preamar.api.shared import Accelerator, AcceleratorType
from preamar.api.training import TrainingJob
from preamar.core.metadata import child_metadata, labels_of, restricted_container, restricted_pod
from preamar.core.placement import environment, scheduling
from preamar.core.plan import Manifest
from preamar.core.settings import Settings
from preamar.core.training.annotations import ResizeRequest
from preamar.core.training.backends.chosen import BACKEND
from preamar.core.training.observe import conversion_name
from preamar.core.training.pods.desired import KIND
from preamar.core.training.pods.pod import AGENT_PORT, checkpoint_order
from preamar.core.training.progress import Saved
from preamar.protocol.labels import CONVERSION_LABEL, JOB_LABEL, RESIZE

TRIES = 2  # after the first
FINAL = 64  # exit code where another try would end alike
BASE_SECONDS, BYTES_A_SECOND, LONGEST_SECONDS = 600, 20_000_000, 86_400


def conversion(
    job: TrainingJob, settings: Settings, number: int, resize: ResizeRequest, saved: Saved
) -> Manifest:
    """The Job that makes a checkpoint loadable for attempt ``number``."""
    labels = labels_of(JOB_LABEL, job.metadata.name, BACKEND.name, "converter")
    labels |= {CONVERSION_LABEL: str(number)}
    name = conversion_name(job.metadata.name, number)
    metadata: dict[str, Any] = child_metadata(KIND, job.metadata, name, labels)
    metadata["annotations"] = {RESIZE: resize.text()}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "completions": 1,
            "parallelism": 1,
            "backoffLimit": TRIES,
            "activeDeadlineSeconds": deadline(saved),
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "FailJob",
                        "onExitCodes": {
                            "containerName": "converter",
                            "operator": "In",
                            "values": [FINAL],
                        },
                    },
                    {
                        "action": "Ignore",  # a drained node is nobody's fault
                        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                    },
                ]
            },
            "template": {
                "metadata": {"labels": labels},
                "spec": _pod(job, settings, number, saved),
            },
        },
    }


def deadline(saved: Saved) -> int:
    """Seconds in which storage that reads and writes 20 MB/s would be done, and ten minutes."""
    return min(LONGEST_SECONDS, BASE_SECONDS + (saved.bytes or 0) // BYTES_A_SECOND)


def _pod(job: TrainingJob, settings: Settings, number: int, saved: Saved) -> dict[str, Any]:
    spec = job.spec
    claim = str(ModelUri.parse(spec.checkpoint.uri).claim)
    ours = {
        "PREAMAR_TRAIN": dumps(checkpoint_order(job, number), sort_keys=True),
        **BACKEND.converter.environment,
        "OMP_NUM_THREADS": "1",
        "HOME": "/tmp",  # noqa: S108
        "PREAMAR_AGENT_PORT": str(AGENT_PORT),
    }
    memory = BACKEND.conversion_memory(saved.bytes or 0, saved.world_size or 1)
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "securityContext": restricted_pod(),
        "terminationGracePeriodSeconds": 5,  # nothing of it counts before it is whole
        "containers": [
            {
                "name": "converter",
                "image": spec.image or settings.images[BACKEND.image],
                "imagePullPolicy": settings.image_pull_policy,
                "command": [*BACKEND.converter.command],
                "env": environment(ours, ()),
                "resources": {"requests": {"cpu": "100m", "memory": str(memory)}},
                "securityContext": restricted_container(),
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "volumeMounts": [
                    {"name": "checkpoint", "mountPath": "/mnt/checkpoint"},
                    {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
                ],
            }
        ],
        "volumes": [
            {"name": "checkpoint", "persistentVolumeClaim": {"claimName": claim}},
            {"name": "tmp", "emptyDir": {}},
        ],
        **scheduling(spec.placement, Accelerator(type=AcceleratorType.CPU)),
    }
    if spec.service_account_name:
        pod["serviceAccountName"] = spec.service_account_name
    if spec.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": s.name} for s in spec.image_pull_secrets]
    return pod
