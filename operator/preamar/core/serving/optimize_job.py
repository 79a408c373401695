"""What makes the optimised model?

A Job of one pod on CPUs, in the model server's own image: it reads the model as a replica would, and
publishes an artefact on the claim that keeps fetched models. The artefact's name is made of the model
and of what is asked, so the same wish finds it again; the pod says what came of it as its last words.
"""

from json import dumps
from typing import Any

from preamar.api.inference import InferenceService
from preamar.api.shared import Accelerator, AcceleratorType
from preamar.api.uri import ModelUri
from preamar.core.metadata import child_metadata, labels_of, restricted_container, restricted_pod
from preamar.core.objects import ClaimView
from preamar.core.placement import environment, resources_of, scheduling, threads
from preamar.core.plan import Manifest
from preamar.core.serving.observe import SERVICE_LABEL, WORK_LABEL, model_name
from preamar.core.serving.source import ARTEFACTS, CACHE, artefact, mounted_source, optimize_name
from preamar.core.settings import Settings

KIND = "InferenceService"
HOURS = 6
KEPT_SECONDS = 7 * 86400
TRIES = 3
CALIBRATION = "/mnt/calibration"
CPU = Accelerator(type=AcceleratorType.CPU)
DEFAULTS = {"cpu": "100m", "memory": "512Mi"}


def optimize_job(
    service: InferenceService, settings: Settings, cache: ClaimView, kept: str | None
) -> Manifest:
    """The Job. ``kept`` is an earlier artefact that replicas may still start from."""
    name = service.metadata.name
    own = labels_of(SERVICE_LABEL, name, "triton", "model-optimize")
    # A replica's label on these pods would make replicas of them.
    pods = labels_of(WORK_LABEL, name, "triton", "model-optimize")
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": child_metadata(KIND, service.metadata, optimize_name(service), own),
        "spec": {
            "backoffLimit": TRIES,
            "activeDeadlineSeconds": HOURS * 3600,
            # Long enough for a refusal to stand; what came of it is told in status by then.
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "FailJob",
                        "onExitCodes": {
                            "containerName": "optimize",
                            "operator": "In",
                            "values": [64],
                        },
                    },
                    {
                        "action": "Ignore",
                        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                    },
                ]
            },
            "template": {
                "metadata": {"labels": pods, "annotations": {WORK_LABEL: artefact(service)}},
                "spec": _pod(service, settings, cache, kept),
            },
        },
    }


def _pod(
    service: InferenceService, settings: Settings, cache: ClaimView, kept: str | None
) -> dict[str, Any]:
    spec, runtime = service.spec, service.spec.runtime
    source = mounted_source(service, settings, cache)
    volumes, mounts = list(source.volumes), list(source.mounts)
    if not any(v["name"] == "cache" for v in volumes):
        volumes.append({"name": "cache", "persistentVolumeClaim": {"claimName": cache.name}})
        mounts.append({"name": "cache", "mountPath": CACHE})
    words = {
        **source.words,
        "name": model_name(service),
        "target": f"{CACHE}/{ARTEFACTS}/{artefact(service)}",
        "kept": [name for name in (kept,) if name],
        "digest": spec.model.digest,
        "trust": spec.model.trust.value,
        "task": spec.model.task.value,
        "precision": spec.optimize.precision.value,
        "sparsity": spec.optimize.sparsity.model_dump(by_alias=True, mode="json"),
        "tolerance": spec.optimize.tolerance,
    }
    if spec.optimize.calibration_uri:
        uri = ModelUri.parse(spec.optimize.calibration_uri)
        claim = {"claimName": uri.claim, "readOnly": True}
        volumes.append({"name": "calibration", "persistentVolumeClaim": claim})
        mounts.append({"name": "calibration", "mountPath": CALIBRATION, "readOnly": True})
        words["calibration"] = f"{CALIBRATION}/{uri.path}".rstrip("/")
    ours = {
        "PREAMAR_OPTIMIZE": dumps(words, sort_keys=True),
        "OMP_NUM_THREADS": threads(runtime.resources),
        "HOME": "/tmp",  # noqa: S108
    }
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "securityContext": restricted_pod(),
        "containers": [
            {
                "name": "optimize",
                "image": runtime.image or settings.triton_image,
                "imagePullPolicy": settings.image_pull_policy,
                "command": ["preamar-model", "optimize"],
                "env": environment(ours, runtime.env),
                "resources": resources_of(runtime.resources, CPU, DEFAULTS),
                "securityContext": restricted_container(),
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "volumeMounts": [*mounts, {"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
            }
        ],
        "volumes": [*volumes, {"name": "tmp", "emptyDir": {}}],
        **scheduling(spec.placement, CPU),
    }
    if runtime.service_account_name:
        pod["serviceAccountName"] = runtime.service_account_name
    if runtime.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": s.name} for s in runtime.image_pull_secrets]
    return pod
