"""How chat messages become one prompt: by the model's Jinja template, in a sandbox.

A template comes with a model, so it is not trusted: no attributes of Python objects, no changes to
what it is given, a bounded length, and an end after a second of output. Without a template each
message is a line ``role: content``.
"""

from collections.abc import Sequence
from functools import lru_cache
from time import monotonic
from typing import Any, NoReturn

from jinja2 import Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from preamar.gateway.errors import Problem, bad

MAX_TEMPLATE = 65536
MAX_PROMPT = 8 << 20
RENDER_SECONDS = 1.0


class _Refused(TemplateError):
    """The template itself says that these messages do not suit it."""


def prompt_of(template: str, messages: Sequence[dict[str, str]], model: str) -> str:
    """The prompt that asks for the assistant's next message. Raises ``Problem``."""
    if not template:
        lines = [f"{message['role']}: {message['content']}" for message in messages]
        return "\n".join([*lines, "assistant:"])
    broken = Problem(
        500,
        f"The chat template of the model '{model}' is broken.",
        "server_error",
        "template_error",
    )
    if len(template) > MAX_TEMPLATE:
        raise broken
    parts: list[str] = []
    size, end = 0, monotonic() + RENDER_SECONDS
    try:
        for part in _compiled(template).generate(
            messages=list(messages), add_generation_prompt=True, bos_token="", eos_token=""
        ):
            parts.append(part)
            size += len(part)
            if size > MAX_PROMPT or monotonic() > end:
                raise broken
    except _Refused:
        raise bad(
            f"The chat template of the model '{model}' does not take these messages.", "messages"
        ) from None
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise broken from error
    return "".join(parts)


def _refuse(_message: Any = "") -> NoReturn:
    raise _Refused


@lru_cache(maxsize=64)
def _compiled(template: str) -> Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = _refuse
    return environment.from_string(template)
