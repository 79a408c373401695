"""What does one replica look like?

One pod: an init container that turns the user's model into a Triton repository, and Triton. The
model comes as ``source`` says; what is made from it lives in the pod. The pod holds no API token.
"""

from collections.abc import Mapping
from json import dumps
from typing import Any

from preamar.api.inference import InferenceService, InferenceServiceSpec
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
    spec, runtime, name = service.spec, service.spec.runtime, service.model_name
    split, source = is_split(spec), supply(service, settings, claim)
    order = _order(spec, name, source, batch, split=split)
    ready = f"/v2/models/{name}/ready"
    probes = {
        "startupProbe": _probe(ready, period=1, failures=LOADING_MINUTES * 60),
        "readinessProbe": _probe(ready, period=2, failures=3),
        "livenessProbe": _probe("/v2/health/live", period=10, failures=6),
    }
    ports = [{"name": name, "containerPort": port} for name, port in PORTS]
    image, gpu = image_of(service, settings), on_gpu(spec.accelerator)
    defaults = GPU_DEFAULTS if gpu else CPU_DEFAULTS
    resources = resources_of(runtime.resources, spec.accelerator, defaults)
    to_builder = {"PREAMAR_MODEL": order, "HOME": "/tmp"}  # noqa: S108
    to_server = {
        "PREAMAR_MODEL": order,
        "PREAMAR_DRAIN_SECONDS": str(spec.drain.seconds),
        "OMP_NUM_THREADS": threads(runtime.resources),
        "HOME": "/tmp",  # noqa: S108
    }
    for_builder = environment(to_builder, runtime.env)
    for_server = environment(to_server, runtime.env)
    where = scheduling(spec.placement, spec.accelerator)
    common = {
        "image": image,
        "imagePullPolicy": settings.image_pull_policy,
        "securityContext": restricted_container(),
        # The builder explains itself there; of a crash the last lines of the log are the best.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    model = {
        **common,
        "name": "model",
        "command": ["preamar-model", "build"],
        "env": for_builder,
        "resources": resources,
        "volumeMounts": [
            *source.mounts,
            {"name": "models", "mountPath": "/models"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
        ],
    }
    triton = {
        **common,
        "name": "triton",
        "command": ["preamar-model", "serve"],
        "args": list(runtime.args),
        "env": for_server,
        "ports": ports,
        "resources": resources,
        **probes,
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
                "emptyDir": {"medium": "Memory", "sizeLimit": SHM_SPLIT if split else SHM},
            },
        ],
        **where,
    }
    if runtime.service_account_name:
        pod["serviceAccountName"] = runtime.service_account_name
    if runtime.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": s.name} for s in runtime.image_pull_secrets]
    return pod


def _order(
    spec: InferenceServiceSpec, name: str, source: Supply, batch: int, *, split: bool
) -> str:
    """What the init container should build, as inside.md says."""
    order: dict[str, Any] = {
        "name": name,
        "format": spec.model.format.value,
        "task": spec.model.task.value,
        "trust": spec.model.trust.value,
        "digest": spec.model.digest,
        "accelerator": spec.accelerator.type.value,
        "batching": spec.runtime.batching.model_dump(by_alias=True, mode="json")
        | {"maxBatchSize": batch},
        "instances": spec.runtime.instances,
    }
    if split:
        shape = spec.parallelism
        order["parallelism"] = {"tensor": shape.tensor, "pipeline": shape.pipeline}
        if shape.expert > 1:  # not always: pods that are there would be made anew for a word
            order["parallelism"]["expert"] = shape.expert
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
