"""What makes the optimised model?

A Job of one pod, in the image that serves: it reads the model as a replica would, and publishes an
artefact on the claim that keeps fetched models. The artefact's name is made of the model and of what is
asked, so the same wish finds it again; the pod says what came of it as its last words. Engines are built
by a Job for each GPU product, which has one whole accelerator of that product: timings taken beside other
work would be noise.
"""

from collections.abc import Mapping, Sequence
from json import dumps

from preamar.api.fields.uri import ModelUri
from preamar.api.inference import InferenceService
from preamar.core.objects import ClaimView
from preamar.core.placement import environment, resources_of, threads
from preamar.core.plan import Manifest
from preamar.core.serving.model.images import image_of
from preamar.core.serving.model.source import (
    ARTEFACTS,
    CACHE,
    Artefact,
    OptimizeJob,
    mounted_source,
)
from preamar.core.serving.pods.pod import GPU_DEFAULTS
from preamar.core.serving.pods.worker import CPU, worker
from preamar.core.settings import Settings
from preamar.protocol.labels import WORK_LABEL

KEPT_SECONDS = 7 * 86400
"""Long enough for a refusal to stand; what came of it is told in status by then."""
CALIBRATION = "/mnt/calibration"
CPU_DEFAULTS: Mapping[str, str] = {"cpu": "100m", "memory": "512Mi"}


def optimize_job(
    service: InferenceService,
    settings: Settings,
    cache: ClaimView,
    made: Artefact,
    job: OptimizeJob,
    kept: Sequence[str],
) -> Manifest:
    """The one ``job`` of those that make what is to be ``made``. ``kept`` are earlier artefacts that
    replicas may still start from."""
    spec, runtime = service.spec, service.spec.runtime
    source = mounted_source(service, settings, cache)
    volumes, mounts = list(source.volumes), list(source.mounts)
    if not any(v["name"] == "cache" for v in volumes):
        volumes.append({"name": "cache", "persistentVolumeClaim": {"claimName": cache.name}})
        mounts.append({"name": "cache", "mountPath": CACHE})
    words = {
        **source.words,
        "name": service.model_name,
        "target": f"{CACHE}/{ARTEFACTS}/{made.name}",
        "kept": list(kept),
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
    accelerator, defaults = CPU, CPU_DEFAULTS
    if made.compiled:
        narrow = {"count": 1, "products": (job.product,) if job.product else ()}
        accelerator, defaults = spec.accelerator.model_copy(update=narrow), GPU_DEFAULTS
        words |= {
            "accelerator": accelerator.type.value,
            "engine": spec.optimize.engine.value,
            "maxBatchSize": runtime.batching.max_batch_size,
        }
    ours = {
        "PREAMAR_OPTIMIZE": dumps(words, sort_keys=True),
        "OMP_NUM_THREADS": threads(runtime.resources),
        "HOME": "/tmp",  # noqa: S108
    }
    container = {
        "name": "optimize",
        "image": image_of(service, settings),
        "env": environment(ours, runtime.env),
        "resources": resources_of(runtime.resources, accelerator, defaults),
        "volumeMounts": mounts,
    }
    body = worker(
        service,
        settings,
        job.name,
        container,
        volumes,
        kept_seconds=KEPT_SECONDS,
        accelerator=accelerator,
    )
    body["spec"]["template"]["metadata"]["annotations"] = {WORK_LABEL: job.part}
    # A pod that a drained node took away is no try.
    policy = body["spec"]["podFailurePolicy"]["rules"]
    taken = [{"type": "DisruptionTarget", "status": "True"}]
    policy.append({"action": "Ignore", "onPodConditions": taken})
    return body
