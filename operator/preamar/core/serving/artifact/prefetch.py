"""Should the model be fetched before a replica has a node?

A node with an accelerator takes minutes to come, and so does a large model: while the first replicas of
a revision wait, a Job without an accelerator brings the model into the cache that they share. Once a
revision has loaded the cache has it, so the Job is made for new ones only; where there is no shared cache
there is nowhere to bring it.
"""

from json import dumps

from preamar.api.inference import InferenceService
from preamar.core.objects import ClaimView
from preamar.core.plan import Manifest
from preamar.core.serving.model.source import (
    ALL,
    mounted_source,
)
from preamar.core.serving.pods.worker import worker
from preamar.core.settings import Settings
from preamar.protocol.images import TRITON

KEPT_SECONDS = 600


def prefetch(
    service: InferenceService, settings: Settings, cache: ClaimView | None, name: str
) -> Manifest | None:
    """The Job called ``name``, where one helps. ``cache`` is the claim that replicas share."""
    if cache is None or ALL not in cache.access_modes:
        return None
    source = mounted_source(service, settings, cache)
    words = {**source.words, "name": service.model_name, "digest": service.spec.model.digest}
    container = {
        "name": "fetch",
        # That of CPUs: no driver is needed, and it is a tenth as large.
        "image": settings.images[TRITON],
        "env": [
            {"name": "PREAMAR_MODEL", "value": dumps(words, sort_keys=True)},
            {"name": "HOME", "value": "/tmp"},  # noqa: S108
        ],
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}},
        "volumeMounts": source.mounts,
    }
    return worker(service, settings, name, container, source.volumes, kept_seconds=KEPT_SECONDS)
