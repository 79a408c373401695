"""What a caller asks of a model, read from OpenAI's requests.

Fields that we do not know are ignored; fields that we know and cannot honour are refused in one
sentence, because an answer that silently ignores them would be a wrong answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from preamar.gateway.errors import bad

MOST_INPUTS = 2048
MOST_STOPS = 4
# With these values a field asks for nothing; others would change the answer.
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
    "logprobs": (False, 0),
    "top_logprobs": (0,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "tools": ([],),
    "functions": ([],),
    "modalities": (["text"],),
    "response_format": ({"type": "text"},),
}


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """A text to be generated; None: the model's own default."""

    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    stop: tuple[str, ...]
    seed: int | None
    stream: bool
    include_usage: bool


def model_name(given: Mapping[str, Any]) -> str:
    name = given.get("model")
    if not isinstance(name, str) or not name:
        raise bad("Name a model in 'model'.", "model")
    return name


def params_of(given: Mapping[str, Any], default_max: int | None) -> SamplingParams:
    """Raises ``Problem``."""
    for name, neutral in _NEUTRAL.items():
        value = given.get(name)
        if value is not None and value not in neutral:
            shown = "1" if name in {"n", "best_of"} else "its default"
            raise bad(f"'{name}' can only be {shown} here.", name, "unsupported_value")
    stream = _flag(given, "stream")
    options = given.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise bad("'stream_options' must be an object.", "stream_options")
    if options and not stream:
        raise bad("'stream_options' needs 'stream': true.", "stream_options")
    name = "max_completion_tokens" if given.get("max_completion_tokens") else "max_tokens"
    most = _number(given, name, 1, 10**9, whole=True)
    return SamplingParams(
        max_tokens=default_max if most is None else int(most),
        temperature=_number(given, "temperature", 0, 2),
        top_p=_number(given, "top_p", 0, 1),
        stop=_stops(given.get("stop")),
        seed=None
        if (seed := _number(given, "seed", -(2**63), 2**63, whole=True)) is None
        else int(seed),
        stream=stream,
        include_usage=bool(options and _flag(options, "include_usage")),
    )


def prompt_of(given: Mapping[str, Any]) -> str:
    """The one prompt of a completion."""
    prompt = given.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if isinstance(prompt, str):
        if not prompt:
            raise bad("'prompt' must not be empty.", "prompt")
        return prompt
    if isinstance(prompt, list) and prompt and all(isinstance(item, str) for item in prompt):
        raise bad("Send one prompt per request.", "prompt", "unsupported_value")
    if isinstance(prompt, list):
        raise bad("Send 'prompt' as text: token numbers are not taken.", "prompt")
    raise bad("'prompt' must be text.", "prompt")


def texts_of(given: Mapping[str, Any]) -> list[str]:
    """The inputs of an embeddings request."""
    texts = given.get("input")
    if isinstance(texts, str):
        texts = [texts]
    if not isinstance(texts, list) or not texts:
        raise bad("'input' must be text or a list of texts.", "input")
    if not all(isinstance(text, str) for text in texts):
        raise bad("Send 'input' as text: token numbers are not taken.", "input")
    if len(texts) > MOST_INPUTS:
        raise bad(f"'input' may hold {MOST_INPUTS} texts at most.", "input")
    if not all(texts):
        raise bad("'input' must not hold an empty text.", "input")
    return texts


def messages_of(given: Mapping[str, Any]) -> list[dict[str, str]]:
    """Chat messages with their text joined. Raises ``Problem``."""
    messages = given.get("messages")
    if not isinstance(messages, list) or not messages:
        raise bad("'messages' must be a list with at least one message.", "messages")
    return [_message(message, f"messages[{at}]") for at, message in enumerate(messages)]


def _message(message: Any, where: str) -> dict[str, str]:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise bad(f"'{where}' must be an object with a 'role'.", where)
    role = "system" if message["role"] == "developer" else message["role"]
    if role not in {"system", "user", "assistant"}:
        raise bad(f"The role of '{where}' must be system, user or assistant.", where)
    content = message.get("content")
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) else None for part in content]
        if not all(isinstance(part, str) for part in parts):
            raise bad(f"'{where}' may hold text only.", where)
        content = "".join(str(part) for part in parts)
    if content is None and role == "assistant":
        content = ""
    if not isinstance(content, str):
        raise bad(f"'{where}' has no 'content'.", where)
    return {"role": role, "content": content}


def _flag(given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name)
    if value is not None and not isinstance(value, bool):
        raise bad(f"'{name}' must be true or false.", name)
    return bool(value)


def _number(
    given: Mapping[str, Any], name: str, low: float, high: float, *, whole: bool = False
) -> float | None:
    value = given.get(name)
    if value is None:
        return None
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        raise bad(f"'{name}' must be {kind} from {low} to {high}.", name)
    return value


def _stops(stop: Any) -> tuple[str, ...]:
    stops = [stop] if isinstance(stop, str) else (stop or [])
    if (
        not isinstance(stops, list)
        or len(stops) > MOST_STOPS
        or not all(isinstance(item, str) and item for item in stops)
    ):
        raise bad(f"'stop' must be text or a list of up to {MOST_STOPS} texts.", "stop")
    return tuple(stops)
