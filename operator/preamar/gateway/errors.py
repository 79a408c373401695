"""What callers are told when something is wrong: OpenAI's four keys and a sentence of our own.

Text from a model server is never passed on: it may name files, shared memory or other tenants.
"""

from dataclasses import dataclass, field
from json import dumps


@dataclass
class Problem(Exception):
    """An answer that is an error. ``headers`` go with it."""

    status: int
    message: str
    type: str = "invalid_request_error"
    code: str | None = None
    param: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.message

    def body(self) -> bytes:
        """The error as JSON."""
        return dumps(
            {
                "error": {
                    "message": self.message,
                    "type": self.type,
                    "param": self.param,
                    "code": self.code,
                }
            }
        ).encode()


def bad(message: str, param: str | None = None, code: str | None = None) -> Problem:
    """The request cannot be understood or carried out as it is."""
    return Problem(400, message, param=param, code=code)


_KEYS = {
    "missing": "No API key was given. Send it as 'Authorization: Bearer <key>'.",
    "wrong": "The API key is not valid.",
    "expired": "The API key has expired.",
}


def bad_key(why: str) -> Problem:
    """``why``: missing, wrong or expired."""
    return Problem(
        401,
        _KEYS[why],
        "authentication_error",
        "invalid_api_key",
        headers={"WWW-Authenticate": "Bearer"},
    )


def forbidden(model: str) -> Problem:
    return Problem(
        403, f"This key may not use the model '{model}'.", "permission_error", "model_not_allowed"
    )


def unknown_model(model: str) -> Problem:
    return Problem(
        404, f"The model '{model[:128]}' does not exist.", code="model_not_found", param="model"
    )


def wrong_task(model: str, task: str) -> Problem:
    """``task`` is the model's own."""
    use = {"Embed": "/v1/embeddings", "Generate": "/v1/chat/completions"}
    other = use.get(task, f"/v2/models/{model}/infer")
    return bad(f"The model '{model}' does not do this; it answers at {other}.", "model")


def unknown_route() -> Problem:
    return Problem(404, "There is nothing at this address.", code="not_found")


def wrong_method(allowed: str) -> Problem:
    return Problem(
        405, f"This address takes {allowed}.", code="method_not_allowed", headers={"Allow": allowed}
    )


def too_large(limit: int) -> Problem:
    return Problem(413, f"The request is larger than {limit} bytes.", code="request_too_large")


def unavailable(message: str, code: str, retry_after: int) -> Problem:
    """Come back later; clients retry when the wait is at most 120 s."""
    wait = str(max(1, min(retry_after, 120)))
    return Problem(503, message, "server_error", code, headers={"Retry-After": wait})


def hold_full(model: str, retry_after: int) -> Problem:
    return unavailable(
        f"Too many requests wait for the model '{model}'. Try again in {retry_after} s.",
        "hold_full",
        retry_after,
    )


def held_too_long(model: str, retry_after: int) -> Problem:
    return unavailable(
        f"No replica of the model '{model}' took the request in time. "
        f"Try again in {retry_after} s.",
        "hold_timeout",
        retry_after,
    )


def stalled(model: str, reason: str) -> Problem:
    return unavailable(
        f"The model '{model}' cannot start ({reason}). Its owner has to change it.",
        "model_stalled",
        60,
    )


def gone(model: str) -> Problem:
    return Problem(404, f"The model '{model}' was deleted.", code="model_not_found", param="model")


def unreachable(model: str) -> Problem:
    return unavailable(
        f"The replicas of the model '{model}' cannot be reached right now.", "unreachable", 2
    )


def ledger_down() -> Problem:
    return unavailable(
        "Usage cannot be recorded right now, so no request is taken.", "ledger_unavailable", 5
    )


def broken_off(model: str, *, stopped: bool = False) -> Problem:
    """``stopped``: the replica was told to go, and the answer outlasted ``drain.seconds``."""
    what = (
        f"The replica of the model '{model}' was stopped before its answer was complete. Send the "
        "request again."
        if stopped
        else f"A replica of the model '{model}' died while it answered."
    )
    return Problem(502, what, "server_error", "upstream_lost")


def model_failed(model: str) -> Problem:
    return Problem(
        500, f"The model '{model}' failed to answer this request.", "server_error", "model_error"
    )


def too_slow(model: str) -> Problem:
    return Problem(
        504, f"The model '{model}' did not answer in time.", "server_error", "upstream_timeout"
    )


def refusal(text: str, model: str) -> Problem:
    """Our own words for an error that a model told of."""
    if "context_length_exceeded" in text:
        return bad(
            f"The prompt is longer than the model '{model}' can read.",
            "messages",
            "context_length_exceeded",
        )
    return model_failed(model)
