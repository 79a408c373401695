"""Which image serves a model?

The model server's for CPUs or for GPUs, another for language models, or the user's own. An engine runs
only with the TensorRT that built it: there the image is a part of what was asked for, so that an upgrade
of Preamar builds the engine anew while replicas go on with the old one.
"""

from collections.abc import Mapping
from typing import Any

from preamar.api.inference import InferenceService
from preamar.core.placement import on_gpu
from preamar.core.serving.model.source import compiles
from preamar.core.settings import Settings
from preamar.protocol.engines import ENGINES


def image_of(service: InferenceService, settings: Settings) -> str:
    """Chosen before anybody has seen the files, which is why format Auto is never an engine's."""
    if service.spec.runtime.image:
        return service.spec.runtime.image
    engine = ENGINES[service.spec.model.format]
    return settings.images[engine.gpu if on_gpu(service.spec.accelerator) else engine.cpu]


def read(body: Mapping[str, Any], settings: Settings) -> InferenceService:
    """The resource; one that is compiled with its image written down. Raises ``ValidationError``."""
    service = InferenceService.model_validate(body)
    if not compiles(service):
        return service
    spec = service.spec
    runtime = spec.runtime.model_copy(update={"image": image_of(service, settings)})
    return service.model_copy(update={"spec": spec.model_copy(update={"runtime": runtime})})
