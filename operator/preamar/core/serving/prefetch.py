"""Should the model be fetched before a replica has a node?

A node with an accelerator takes minutes to come, and so does a large model: while the first replicas of
a revision wait, a Job without an accelerator brings the model into the cache that they share. Once a
revision has loaded the cache has it, so the Job is made for new ones only; where there is no shared cache
there is nowhere to bring it.
"""

from json import dumps
from typing import Any

from preamar.api.inference import InferenceService
from preamar.api.shared import Accelerator, AcceleratorType
from preamar.core.metadata import child_metadata, labels_of, restricted_container, restricted_pod
from preamar.core.objects import ClaimView
from preamar.core.placement import scheduling
from preamar.core.plan import Manifest
from preamar.core.serving.observe import SERVICE_LABEL, WORK_LABEL, model_name
from preamar.core.serving.source import (
    ALL,
    fetch_name,
    is_optimized,
    may_be_fetched_ahead,
    mounted_source,
    usable_cache,
)
from preamar.core.settings import Settings

KIND = "InferenceService"
HOURS = 6
KEPT_SECONDS = 600
CPU = Accelerator(type=AcceleratorType.CPU)


def prefetch(
    service: InferenceService, settings: Settings, claim: ClaimView | None
) -> Manifest | None:
    """The Job, where one helps. ``claim`` is the cache's."""
    cache = usable_cache(service, claim)
    cache = usable_cache(service, claim)
    if not may_be_fetched_ahead(service) or is_optimized(service):  # which fetches it itself
        return None
    if cache is None or ALL not in cache.access_modes:
        return None
    name = service.metadata.name
    pods = labels_of(WORK_LABEL, name, "triton", "model-fetch")
    # A replica's label on these pods would make replicas of them.
    own = labels_of(SERVICE_LABEL, name, "triton", "model-fetch")
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": child_metadata(KIND, service.metadata, fetch_name(service), own),
        "spec": {
            "backoffLimit": 3,
            "activeDeadlineSeconds": HOURS * 3600,
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "FailJob",
                        "onExitCodes": {"containerName": "fetch", "operator": "In", "values": [64]},
                    }
                ]
            },
            "template": {"metadata": {"labels": pods}, "spec": _pod(service, settings, cache)},
        },
    }


def _pod(service: InferenceService, settings: Settings, cache: ClaimView) -> dict[str, Any]:
    source, runtime, model = (
        mounted_source(service, settings, cache),
        service.spec.runtime,
        service.spec.model,
    )
    words = {**source.words, "name": model_name(service), "digest": model.digest}
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "securityContext": restricted_pod(),
        "containers": [
            {
                "name": "fetch",
                # That of CPUs: no driver is needed, and it is a tenth as large.
                "image": settings.triton_image,
                "imagePullPolicy": settings.image_pull_policy,
                "command": ["preamar-model", "fetch"],
                "env": [
                    {"name": "PREAMAR_MODEL", "value": dumps(words, sort_keys=True)},
                    {"name": "HOME", "value": "/tmp"},  # noqa: S108
                ],
                "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}},
                "securityContext": restricted_container(),
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "volumeMounts": [
                    *source.mounts,
                    {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
                ],
            }
        ],
        "volumes": [*source.volumes, {"name": "tmp", "emptyDir": {}}],
        **scheduling(service.spec.placement, CPU),
    }
    if runtime.service_account_name:
        pod["serviceAccountName"] = runtime.service_account_name
    if runtime.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": s.name} for s in runtime.image_pull_secrets]
    return pod
