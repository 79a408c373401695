"""What were the replicas made of that run now?

The Deployment remembers it, because the resource already says what comes next: while that is being
prepared, the old replicas are still sized, replaced and served as they were made.
"""

from json import dumps, loads

from pydantic import ValidationError

from preamar.api.inference import InferenceService

PARTS = ("model", "optimize", "runtime", "accelerator", "parallelism")
"""Of the spec: what a change of makes another revision."""


def made_of(service: InferenceService) -> str:
    """The annotation's text."""
    spec = service.spec.model_dump(by_alias=True, mode="json", exclude_defaults=True)
    return dumps({part: spec[part] for part in PARTS if part in spec}, sort_keys=True)


def earlier(service: InferenceService, text: str) -> InferenceService | None:
    """The same service with those parts as they were; None where they cannot be read."""
    try:
        parts = loads(text)
        body = service.model_dump(by_alias=True, mode="json", exclude_unset=True)
        spec = {key: value for key, value in body["spec"].items() if key not in PARTS}
        if not isinstance(parts, dict) or set(parts) - set(PARTS):
            return None
        return InferenceService.model_validate(body | {"spec": spec | parts})
    except (ValueError, ValidationError):
        return None
