"""The openai client of Python, sync and async, as it is: answers, streams and errors."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, AsyncStream, OpenAI, Stream

from e2e.clients.models import STORY, WORDS, chat, told
from e2e.cluster import Cluster

PROMPT = "High tide lifts"
COUNT = 24
Call = Callable[[Any], Any]
pytestmark = pytest.mark.usefixtures("models")


class Asker:
    """Makes one call with a client of one kind; streams and pages come back as lists."""

    def __init__(self, here: Cluster, kind: str) -> None:
        self._here, self._kind = here, kind

    def __call__(self, call: Call, key: str | None = None) -> Any:
        told: dict[str, Any] = {
            "base_url": f"{self._here.gateway_url}/v1",
            "api_key": key or self._here.key(),
            "max_retries": 0,
            "timeout": 60.0,
        }
        if self._kind == "async":
            return asyncio.run(self._later(call, told))
        with OpenAI(**told) as client:
            found = call(client)
            return list(found) if isinstance(found, Stream) else found

    @staticmethod
    async def _later(call: Call, told: dict[str, Any]) -> Any:
        async with AsyncOpenAI(**told) as client:
            found = call(client)
            if isinstance(found, Awaitable):
                found = await found
            return [one async for one in found] if isinstance(found, AsyncStream) else found


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest, here: Cluster) -> Asker:
    return Asker(here, request.param)


def test_models_are_listed_and_found(ask: Asker) -> None:
    listed = {model.id for model in ask(lambda c: c.models.list()).data}
    assert listed >= {STORY, WORDS}
    assert ask(lambda c: c.models.retrieve(WORDS)).id == WORDS


def test_embeddings_are_the_same_as_numbers_and_packed(ask: Asker) -> None:
    texts = ["a boat at sea", "quarterly tax returns"]
    packed = ask(lambda c: c.embeddings.create(model=WORDS, input=texts))
    plain = ask(lambda c: c.embeddings.create(model=WORDS, input=texts, encoding_format="float"))
    assert [one.index for one in packed.data] == [0, 1]
    for one, other in zip(packed.data, plain.data, strict=True):
        assert len(one.embedding) == 384
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
        assert math.hypot(*one.embedding) == pytest.approx(1.0, abs=1e-3)
    assert packed.usage.prompt_tokens == packed.usage.total_tokens > 4


def test_a_completion_is_what_the_model_says(ask: Asker) -> None:
    wish = {"model": STORY, "prompt": PROMPT, "max_tokens": COUNT, "temperature": 0}
    answer = ask(lambda c: c.completions.create(**wish))
    (choice,) = answer.choices
    assert choice.text == told(PROMPT, COUNT)
    assert choice.finish_reason == "length"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (len(PROMPT), COUNT)


def test_a_streamed_completion_is_the_same_in_pieces_with_its_usage_last(ask: Asker) -> None:
    wish = {"model": STORY, "prompt": PROMPT, "max_tokens": COUNT, "temperature": 0}
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = ask(lambda c: c.completions.create(**wish, **options))
    pieces = [chunk.choices[0].text for chunk in chunks if chunk.choices]
    assert "".join(pieces) == told(PROMPT, COUNT)
    assert len(list(filter(None, pieces))) > 3
    assert chunks[-1].usage.completion_tokens == COUNT
    assert not any(chunk.usage for chunk in chunks[:-1])


MESSAGES = (("system", "Be brief."), ("user", "What lifts all boats?"))


def wish_to_chat() -> dict[str, Any]:
    messages = [{"role": role, "content": content} for role, content in MESSAGES]
    return {"model": STORY, "messages": messages, "max_tokens": COUNT, "temperature": 0}


def test_a_chat_goes_through_the_models_own_template(ask: Asker) -> None:
    answer = ask(lambda c: c.chat.completions.create(**wish_to_chat()))
    (choice,) = answer.choices
    assert choice.message.role == "assistant"
    assert choice.message.content == told(chat(*MESSAGES), COUNT)
    assert answer.usage.prompt_tokens == len(chat(*MESSAGES))


def test_a_streamed_chat_says_its_role_its_text_and_why_it_ended(ask: Asker) -> None:
    chunks = ask(lambda c: c.chat.completions.create(**wish_to_chat(), stream=True))
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == told(chat(*MESSAGES), COUNT)
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == [
        "length"
    ]  # fmt: skip
    assert len({chunk.id for chunk in chunks}) == 1


@pytest.mark.parametrize("key", ["sk-nobody", "sk-pre-aaaaaaaa-" + "b" * 43 + "-cccccc"])
def test_a_bad_key_is_an_authentication_error(ask: Asker, key: str) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        ask(lambda c: c.models.list(), key=key)
    assert caught.value.code == "invalid_api_key"


def test_an_unknown_model_is_not_found(ask: Asker) -> None:
    for call in (
        lambda c: c.embeddings.create(model="nobody", input="hello"),
        lambda c: c.completions.create(model="nobody", prompt="hello"),
        lambda c: c.models.retrieve("nobody"),
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            ask(call)
        assert caught.value.code == "model_not_found"


def test_a_wish_that_cannot_be_granted_is_refused_by_its_name(ask: Asker) -> None:
    for wish, parameter in (
        ({"n": 2}, "n"),
        ({"temperature": 9}, "temperature"),
        ({"prompt": ["a", "b"]}, "prompt"),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            ask(lambda c, w=wish: c.completions.create(**{"model": STORY, "prompt": "x"} | w))
        assert caught.value.param == parameter


def test_a_prompt_that_is_too_long_says_so(ask: Asker) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(lambda c: c.completions.create(model=STORY, prompt="a" * 600, max_tokens=4))
    assert caught.value.code == "context_length_exceeded"
