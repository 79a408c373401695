"""May the answers of two revisions be compared, and how far may they be apart?

Where both are made of the same model (location, digest and task) and the task answers in numbers, a
difference is the doing of what was changed: optimisation, format, runtime, accelerator. It may be as
large as ``spec.optimize.tolerance`` says, the same number that the gate on held-out samples asks for;
where the earlier one was optimised too, as large as both tolerances together allow.
"""

from math import sqrt

from preamar.api.inference import InferenceService
from preamar.api.models import Task, Trust
from preamar.core.serving.model.source import is_optimized
from preamar.protocol.answer_distance import TASKS

LEAST_TOLERANCE = 1e-5
"""What the order of additions alone changes in floats of 32 bits."""


def allowed(before: InferenceService, service: InferenceService) -> float | None:
    """The mean difference that is allowed; None where nothing is to be compared.

    Triangle inequalities bound how far two models are apart that are each near a third: norms add up,
    and so do angles, of which 1 - cosine is about half the square."""
    if not _same_model(before, service) or service.spec.model.task not in TASKS:
        return None
    if service.spec.model.trust == Trust.CODE:
        return None  # the author's code may do more than answer, which must not be done twice
    tolerance = float(service.spec.optimize.tolerance)
    if not is_optimized(before):
        return max(LEAST_TOLERANCE, tolerance)
    if not is_optimized(service):
        return None  # back to the model as it came: a difference would tell of the one before
    other = float(before.spec.optimize.tolerance)
    if service.spec.model.task == Task.EMBED:
        return max(LEAST_TOLERANCE, (sqrt(tolerance) + sqrt(other)) ** 2)
    return max(LEAST_TOLERANCE, tolerance + other)


def _same_model(before: InferenceService, service: InferenceService) -> bool:
    one, other = before.spec.model, service.spec.model
    return (one.uri, one.digest, one.task) == (other.uri, other.digest, other.task)
