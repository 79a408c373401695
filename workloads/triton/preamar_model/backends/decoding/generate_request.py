"""What does a caller of `Generate` ask for? The JSON of the tensor REQUEST, checked."""

import json
import math
from dataclasses import dataclass

from preamar_model.backends.invalid import Invalid

MOST_STOPS = 16
LONGEST_STOP = 500


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    prompt: str
    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None


def read(raw: bytes) -> GenerateRequest:
    """Raises `Invalid` with a sentence that names the field."""
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise Invalid(f"REQUEST is not JSON: {error}.") from error
    if not isinstance(body, dict) or not isinstance(body.get("prompt"), str):
        raise Invalid("REQUEST must be an object with a text `prompt`.")
    stop = body.get("stop") or []
    stop = [stop] if isinstance(stop, str) else stop
    if not isinstance(stop, list) or not all(isinstance(s, str) for s in stop):
        raise Invalid("`stop` must be a list of texts.")
    if len(stop) > MOST_STOPS or any(len(s) > LONGEST_STOP for s in stop):
        raise Invalid(f"`stop` may hold {MOST_STOPS} texts of {LONGEST_STOP} characters.")
    most, seed = _whole(body, "max_tokens"), _whole(body, "seed")
    if most is not None and most < 1:
        raise Invalid("`max_tokens` must be at least 1.")
    return GenerateRequest(
        prompt=body["prompt"],
        max_tokens=most,
        temperature=_number(body, "temperature", 0.0, 2.0),
        top_p=_number(body, "top_p", 0.0, 1.0),
        stop=tuple(s for s in stop if s),
        seed=seed,
    )


def _whole(body: dict, name: str) -> int | None:
    value = body.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise Invalid(f"`{name}` must be a whole number.")
    return value


def _number(body: dict, name: str, low: float, high: float) -> float:
    value = body.get(name)
    if value is None:
        return 1.0
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or not low <= value <= high
    ):
        raise Invalid(f"`{name}` must be a number from {low:g} to {high:g}.")
    return float(value)
