"""What does a Job look like that does something for a model before replicas serve it?

One pod, in the model server's own image, with no API token. No Service selects it: a replica's
label on its pods would make replicas of them.
"""

from collections.abc import Sequence
from typing import Any

from preamar.api.inference import InferenceService
from preamar.api.shared import Accelerator, AcceleratorType
from preamar.core.metadata import child_metadata, labels_of, restricted_container, restricted_pod
from preamar.core.placement import scheduling
from preamar.core.plan import Manifest
from preamar.core.serving.observe import KIND
from preamar.core.serving.pods.memory import REFUSED
from preamar.core.settings import Settings
from preamar.protocol.labels import SERVICE_LABEL, WORK_LABEL

HOURS = 6
TRIES = 3
CPU = Accelerator(type=AcceleratorType.CPU)


def worker(
    service: InferenceService,
    settings: Settings,
    name: str,
    container: dict[str, Any],
    volumes: Sequence[dict[str, Any]],
    *,
    kept_seconds: int,
    accelerator: Accelerator = CPU,
) -> Manifest:
    """The Job called ``name``. ``container`` says its own name, image, environment, resources and
    mounts; the rest is the same for all. What the user is at fault for is not tried again."""
    owner, does = service.metadata, container["name"]
    parts = (owner.name, "triton", f"model-{does}")
    exits = {"containerName": does, "operator": "In", "values": [REFUSED]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": child_metadata(KIND, owner, name, labels_of(SERVICE_LABEL, *parts)),
        "spec": {
            "backoffLimit": TRIES,
            "activeDeadlineSeconds": HOURS * 3600,
            "ttlSecondsAfterFinished": kept_seconds,
            "podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": exits}]},
            "template": {
                "metadata": {"labels": labels_of(WORK_LABEL, *parts)},
                "spec": _pod(service, settings, container, volumes)
                | scheduling(service.spec.placement, accelerator),
            },
        },
    }


def _pod(
    service: InferenceService,
    settings: Settings,
    container: dict[str, Any],
    volumes: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    runtime = service.spec.runtime
    tmp = {"name": "tmp", "mountPath": "/tmp"}  # noqa: S108
    whole = container | {
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["preamar-model", container["name"]],
        "securityContext": restricted_container(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [*container["volumeMounts"], tmp],
    }
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "securityContext": restricted_pod(),
        "containers": [whole],
        "volumes": [*volumes, {"name": "tmp", "emptyDir": {}}],
    }
    if runtime.service_account_name:
        pod["serviceAccountName"] = runtime.service_account_name
    if runtime.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": s.name} for s in runtime.image_pull_secrets]
    return pod
