"""What does one replica look like?

One pod: an init container that turns the user's model into a Triton repository, and Triton. The
model comes as ``source`` says; what is made from it lives in the pod. The pod holds no API token.
"""

from collections.abc import Mapping
from json import dumps
from typing import Any

from preamar.api.inference import InferenceService
from preamar.core.metadata import restricted_container, restricted_pod
from preamar.core.objects import ClaimView
from preamar.core.placement import environment, on_gpu, resources_of, scheduling, threads
from preamar.core.serving.model.images import image_of
from preamar.core.serving.model.limits import is_split
from preamar.core.serving.model.source import Supply, supply
from preamar.core.settings import Settings
from preamar.protocol import ports

PRESTOP_SECONDS = 5  # until every gateway and kube-proxy has heard that the pod is leaving
LOADING_MINUTES = 30
CPU_DEFAULTS: Mapping[str, str] = {"cpu": "100m", "memory": "256Mi"}
GPU_DEFAULTS: Mapping[str, str] = {"cpu": "1", "memory": "4Gi"}
SHM, SHM_SPLIT = "1Gi", "8Gi"  # accelerators that share a model talk through it
PORTS = (
    ("http", ports.MODEL_HTTP),
    ("grpc", ports.MODEL_GRPC),
    ("metrics", ports.MODEL_METRICS),
)


def pod_spec(
    service: InferenceService, settings: Settings, claim: ClaimView | None, batch: int
) -> dict[str, Any]:
    """The spec of a replica's pod. ``claim`` is the model's, or that of the cache; ``batch`` may be
    less than was asked for."""
    spec, runtime = service.spec, service.spec.runtime
    gpu = on_gpu(spec.accelerator)
    source = supply(service, settings, claim)
    order = _order(service, source, batch)
    common = {
        "image": image_of(service, settings),
        "imagePullPolicy": settings.image_pull_policy,
        "securityContext": restricted_container(),
        # The builder explains itself there; of a crash the last lines of the log are the best.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    defaults = GPU_DEFAULTS if gpu else CPU_DEFAULTS
    resources = resources_of(runtime.resources, spec.accelerator, defaults)
    model = {
        **common,
        "name": "model",
        "command": ["preamar-model", "build"],
        "env": environment({"PREAMAR_MODEL": order, "HOME": "/tmp"}, runtime.env),  # noqa: S108
        "resources": resources,
        "volumeMounts": [
            *source.mounts,
            {"name": "models", "mountPath": "/models"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
        ],
    }
    ours = {
        "PREAMAR_MODEL": order,
        "PREAMAR_DRAIN_SECONDS": str(spec.drain.seconds),
        "OMP_NUM_THREADS": threads(runtime.resources),
        "HOME": "/tmp",  # noqa: S108
    }
    ready = f"/v2/models/{service.model_name}/ready"
    triton = {
        **common,
        "name": "triton",
        "command": ["preamar-model", "serve"],
        "args": list(runtime.args),
        "env": environment(ours, runtime.env),
        "ports": [{"name": name, "containerPort": port} for name, port in PORTS],
        "resources": resources,
        "startupProbe": _probe(ready, period=1, failures=LOADING_MINUTES * 60),
        "readinessProbe": _probe(ready, period=2, failures=3),
        "livenessProbe": _probe("/v2/health/live", period=10, failures=6),
        "lifecycle": {"preStop": {"sleep": {"seconds": PRESTOP_SECONDS}}},
        "volumeMounts": [
            {"name": "models", "mountPath": "/models"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108
        ],
    }
    if not runtime.args:
        del triton["args"]
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": restricted_pod(),
        "terminationGracePeriodSeconds": spec.drain.seconds + PRESTOP_SECONDS + 10,
        "initContainers": [model],
        "containers": [triton],
        "volumes": [
            *source.volumes,
            {"name": "models", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
            {
                "name": "shm",
                "emptyDir": {"medium": "Memory", "sizeLimit": SHM_SPLIT if is_split(spec) else SHM},
            },
        ],
        **scheduling(spec.placement, spec.accelerator),
    }
    if runtime.service_account_name:
        pod["serviceAccountName"] = runtime.service_account_name
    if runtime.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": s.name} for s in runtime.image_pull_secrets]
    return pod


def _order(service: InferenceService, source: Supply, batch: int) -> str:
    """What the init container should build, as inside.md says."""
    spec = service.spec
    order: dict[str, Any] = {
        "name": service.model_name,
        "format": spec.model.format.value,
        "task": spec.model.task.value,
        "trust": spec.model.trust.value,
        "digest": spec.model.digest,
        "accelerator": spec.accelerator.type.value,
        "batching": spec.runtime.batching.model_dump(by_alias=True, mode="json")
        | {"maxBatchSize": batch},
        "instances": spec.runtime.instances,
    }
    if is_split(spec):
        split = spec.parallelism
        order["parallelism"] = {"tensor": split.tensor, "pipeline": split.pipeline}
        if split.expert > 1:  # not always: pods that are there would be made anew for a word
            order["parallelism"]["expert"] = split.expert
    order |= source.words
    if spec.parallelism.nodes > 1:
        order["stages"] = spec.parallelism.nodes
    return dumps(order, sort_keys=True)


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": period,
        # Shorter ones kill a healthy server on a busy machine.
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }
