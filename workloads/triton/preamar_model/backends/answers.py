"""How are several requests answered at once, so that one bad request spoils no other?

They run together; if that fails and there are more than one, each runs alone and bears its own
error. A request whose caller has left is not run.
"""

from collections.abc import Callable

import triton_python_backend_utils as utils

from preamar_model.backends.invalid import Invalid


def together(requests: list, answer: Callable[[list], list]) -> list:
    wanted = [request for request in requests if not request.is_cancelled()]
    given = dict(zip(map(id, wanted), _answered(wanted, answer), strict=True)) if wanted else {}
    gone = utils.TritonError("the caller has left", utils.TritonError.CANCELLED)
    return [given.get(id(request)) or utils.InferenceResponse(error=gone) for request in requests]


def _answered(requests: list, answer: Callable[[list], list]) -> list:
    try:
        return answer(requests)
    except Exception as error:  # noqa: BLE001 - a failed request is an answer, never a dead server
        if len(requests) == 1:
            return [utils.InferenceResponse(error=failure(error))]
    return [response for request in requests for response in _answered([request], answer)]


def failure(error: Exception) -> object:
    words = " ".join(str(error).split()) or type(error).__name__
    code = (
        utils.TritonError.INVALID_ARG if isinstance(error, Invalid) else utils.TritonError.INTERNAL
    )
    return utils.TritonError(words[:2000], code)
