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
    fetch_name,
    is_optimized,
    may_be_fetched_ahead,
    mounted_source,
    usable_cache,
)
from preamar.core.serving.pods.worker import worker
from preamar.core.settings import Settings

KEPT_SECONDS = 600


def prefetch(
    service: InferenceService, settings: Settings, claim: ClaimView | None
) -> Manifest | None:
    """The Job, where one helps. ``claim`` is the cache's."""
    cache = usable_cache(service, claim)
    if not may_be_fetched_ahead(service) or is_optimized(service):  # which fetches it itself
        return None
    if cache is None or ALL not in cache.access_modes:
        return None
    source = mounted_source(service, settings, cache)
    words = {**source.words, "name": service.model_name, "digest": service.spec.model.digest}
    container = {
        "name": "fetch",
        # That of CPUs: no driver is needed, and it is a tenth as large.
        "image": settings.triton_image,
        "env": [
            {"name": "PREAMAR_MODEL", "value": dumps(words, sort_keys=True)},
            {"name": "HOME", "value": "/tmp"},  # noqa: S108
        ],
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}},
        "volumeMounts": source.mounts,
    }
    name = fetch_name(service)
    return worker(service, settings, name, container, source.volumes, kept_seconds=KEPT_SECONDS)
