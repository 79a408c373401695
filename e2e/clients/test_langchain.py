"""LangChain's OpenAI classes, as they are: chat, streams with their usage, and embeddings."""

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import SecretStr

from e2e.clients.models import STORY, WORDS
from e2e.cluster import Cluster

pytestmark = pytest.mark.usefixtures("models")


@pytest.fixture
def chat(here: Cluster) -> ChatOpenAI:
    return ChatOpenAI(
        model=STORY,
        base_url=f"{here.gateway_url}/v1",
        api_key=SecretStr(here.key()),
        temperature=0,
        max_completion_tokens=12,
        stream_usage=True,
        max_retries=0,
        timeout=60,
    )


def test_a_chat_is_answered_with_its_usage(chat: ChatOpenAI) -> None:
    answer = chat.invoke([SystemMessage("Tell a story."), HumanMessage("High tide lifts")])
    assert isinstance(answer.content, str)
    assert answer.content
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] == 12
    assert answer.response_metadata["finish_reason"] == "length"


def test_a_stream_adds_up_to_the_same_answer(chat: ChatOpenAI) -> None:
    asked = [HumanMessage("High tide lifts")]
    chunks = list(chat.stream(asked))
    assert len(chunks) > 3
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert whole.content == chat.invoke(asked).content
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] == 12


def test_embeddings_are_vectors_of_the_texts(here: Cluster) -> None:
    embeddings = OpenAIEmbeddings(
        model=WORDS,
        base_url=f"{here.gateway_url}/v1",
        api_key=SecretStr(here.key()),
        # Token numbers of OpenAI's own models mean nothing to this one.
        check_embedding_ctx_length=False,
        max_retries=0,
    )
    first, second = embeddings.embed_documents(["high tide", "low tide"])
    assert len(first) == len(second) > 100
    assert first != second
    assert embeddings.embed_query("high tide") == pytest.approx(first, abs=1e-5)
