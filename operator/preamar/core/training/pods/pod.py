"""What does one worker look like?

One pod of an Indexed Job: the rank agent as PID 1 starts the ranks, and learns all it must know
from its environment. Ranks find each other by the headless Service; there is no SSH, no launcher,
and no API token.
"""

from collections.abc import Mapping
from json import dumps
from typing import Any

from preamar.api.checkpoints import Schedule
from preamar.api.training import TrainingJob
from preamar.core.metadata import restricted_container, restricted_pod
from preamar.core.placement import environment, on_gpu, resources_of, scheduling, threads
from preamar.core.settings import Settings
from preamar.core.training.backends.chosen import BACKEND
from preamar.core.training.grace import BEYOND_SECONDS, grace_seconds, patience
from preamar.core.training.planner import interconnect
from preamar.core.training.planner.sizes import Split
from preamar.core.training.pods.material import (
    Mounted,
    claimed,
    data_mounts,
    data_words,
    inside,
    secrets,
    staged,
)
from preamar.core.training.pods.tokens import stop_digest
from preamar.protocol import ports

MASTER_PORT, AGENT_PORT = ports.MASTER, ports.AGENT
CPU_DEFAULTS: Mapping[str, str] = {"cpu": "100m", "memory": "512Mi"}
GPU_DEFAULTS: Mapping[str, str] = {"cpu": "2", "memory": "8Gi"}


def pod_spec(
    job: TrainingJob,
    settings: Settings,
    attempt: int,
    workers: int,
    step: Split,
    mean_seconds: int,
) -> dict[str, Any]:
    """The spec of a worker's pod in one attempt. What is written to must be ``pvc://``."""
    spec, name = job.spec, job.metadata.name
    gpu = on_gpu(spec.accelerator)
    default = settings.images[BACKEND.gpu_image if gpu else BACKEND.image]
    resources, grace = spec.workers.resources, grace_seconds(job)
    ours = {
        "WORLD_SIZE": str(workers * spec.workers.ranks_per_worker),
        "RANKS_PER_WORKER": str(spec.workers.ranks_per_worker),
        "MASTER_ADDR": f"{name}-{attempt}-0.{name}-ranks",
        "MASTER_PORT": str(MASTER_PORT),
        "PREAMAR_AGENT_PORT": str(AGENT_PORT),
        "PREAMAR_GRACE_SECONDS": str(grace),
        "PREAMAR_GANG_SECONDS": patience(settings.gang_seconds),
        "PREAMAR_STOP_SHA256": stop_digest(settings.internal_key, job.metadata.uid or "", attempt),
        "PREAMAR_TRAIN": dumps(order(job, attempt, step, mean_seconds), sort_keys=True),
        "OMP_NUM_THREADS": threads(resources),
        "HOME": "/tmp",  # noqa: S108
        **interconnect.variables(spec, workers),
        **BACKEND.of_ranks(spec),
    }
    volumes, mounts = _volumes(job, settings)
    trainer = {
        "name": "trainer",
        "image": spec.image or default,
        "imagePullPolicy": settings.image_pull_policy,
        "command": BACKEND.command(spec),
        "env": environment(ours, spec.env),
        "ports": [{"name": "agent", "containerPort": AGENT_PORT}],
        "resources": resources_of(
            resources, spec.accelerator, GPU_DEFAULTS if gpu else CPU_DEFAULTS
        ),
        "securityContext": interconnect.security(spec) or restricted_container(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    }
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "subdomain": f"{name}-ranks",
        "securityContext": restricted_pod(),
        "terminationGracePeriodSeconds": grace + BEYOND_SECONDS,
        "containers": [trainer],
        "volumes": volumes,
        **scheduling(spec.placement, spec.accelerator),
    }
    if spec.service_account_name:
        pod["serviceAccountName"] = spec.service_account_name
    if spec.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": s.name} for s in spec.image_pull_secrets]
    return pod


def order(job: TrainingJob, attempt: int, step: Split, mean_seconds: int) -> dict[str, Any]:
    """What the ranks should train, as inside.md says."""
    spec = job.spec
    return {
        **checkpoint_order(job, attempt, mean_seconds),
        "model": {"preset": spec.model.preset, "parameters": dict(spec.model.parameters)},
        "parallelism": spec.parallelism.model_dump(by_alias=True, mode="json"),
        "batch": {
            "global": spec.batch.global_size,
            "micro": step.micro,
            "accumulation": step.accumulation,
        },
        "deepspeedConfig": dict(spec.deepspeed_config),
        "data": data_words(job),
        "steps": spec.steps,
        "precision": spec.precision.value,
        "export": {"path": inside("/mnt/export", spec.export.uri), "uri": spec.export.uri}
        if spec.export
        else None,
    }


def checkpoint_order(
    job: TrainingJob, attempt: int, mean_seconds: int | None = None
) -> dict[str, Any]:
    """The part of an order that says where checkpoints are and who writes there."""
    checkpoint = job.spec.checkpoint
    auto = checkpoint.schedule == Schedule.AUTO
    return {
        "job": f"{job.metadata.namespace}/{job.metadata.name}",
        "uid": job.metadata.uid,
        "attempt": attempt,
        "checkpoint": {
            "path": inside("/mnt/checkpoint", checkpoint.uri),
            "uri": checkpoint.uri,
            "everySteps": checkpoint.every_steps,
            "everySeconds": checkpoint.every_seconds,
            "meanSecondsBetweenFaults": mean_seconds if auto else None,
            "keep": checkpoint.keep,
        },
    }


def _volumes(
    job: TrainingJob, settings: Settings
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    spec, data = job.spec, job.spec.data
    wanted = [Mounted("/mnt/checkpoint", spec.checkpoint.uri, read_only=False), *data_mounts(data)]
    wanted += [Mounted("/mnt/export", spec.export.uri, read_only=False)] if spec.export else []
    volumes, mounts = claimed(wanted)
    more = staged(data, settings), ([], []) if data.prepare else secrets(data)
    for found, where in more:
        volumes += found
        mounts += where
    volumes += [
        {"name": "shm", "emptyDir": {"medium": "Memory"}},
        {"name": "tmp", "emptyDir": {}},
    ]
    mounts += [
        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
    ]
    return volumes, mounts
