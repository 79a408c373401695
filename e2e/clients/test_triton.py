"""tritonclient as it is, over HTTP and gRPC, sync and aio: the same key, the same answers."""

import asyncio
import json
import queue
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc.aio as grpc_aio
import tritonclient.http.aio as http_aio
from tritonclient import grpc, http
from tritonclient.utils import InferenceServerException

from e2e.clients.models import STORY, WORDS, told
from e2e.cluster import Cluster
from e2e.demo.calls import client as openai_client

TEXT = "a boat at sea"
PROMPT, COUNT = "High tide lifts", 24
pytestmark = pytest.mark.usefixtures("models")


@pytest.fixture(scope="module")
def expected(here: Cluster, models: None) -> list[float]:
    found = openai_client(here).embeddings.create(model=WORDS, input=TEXT, encoding_format="float")
    return found.data[0].embedding


@pytest.fixture
def headers(here: Cluster) -> dict[str, str]:
    return {"authorization": f"Bearer {here.key()}"}


def texts(module: Any) -> list[Any]:
    given = module.InferInput("TEXT", [1, 1], "BYTES")
    given.set_data_from_numpy(np.array([[TEXT.encode()]], dtype=object))
    return [given]


def request(module: Any) -> list[Any]:
    wish = {"prompt": PROMPT, "max_tokens": COUNT, "temperature": 0}
    given = module.InferInput("REQUEST", [1], "BYTES")
    given.set_data_from_numpy(np.array([json.dumps(wish).encode()], dtype=object))
    return [given]


def text_of(results: list[Any]) -> str:
    return b"".join(result.as_numpy("TEXT").flat[0] for result in results).decode()


def same(result: Any, expected: list[float]) -> bool:
    return bool(np.allclose(result.as_numpy("EMBEDDING")[0], expected, atol=1e-5))


def http_place(here: Cluster) -> str:
    return here.gateway_url.removeprefix("http://")


def test_http(here: Cluster, headers: dict[str, str], expected: list[float]) -> None:
    with http.InferenceServerClient(http_place(here), network_timeout=60.0) as caller:
        assert caller.is_server_live(headers)
        assert caller.is_model_ready(WORDS, headers=headers)
        about = caller.get_model_metadata(WORDS, headers=headers)
        assert {one["name"] for one in about["outputs"]} >= {"EMBEDDING"}
        assert same(caller.infer(WORDS, texts(http), headers=headers), expected)


def test_http_errors(here: Cluster, headers: dict[str, str]) -> None:
    with http.InferenceServerClient(http_place(here), network_timeout=60.0) as caller:
        with pytest.raises(InferenceServerException) as caught:
            caller.infer(WORDS, texts(http), headers={"authorization": "Bearer sk-nobody"})
        assert caught.value.status() == "401"
        with pytest.raises(InferenceServerException) as caught:
            caller.infer("nobody", texts(http), headers=headers)
        assert caught.value.status() == "404"
        with pytest.raises(InferenceServerException) as caught:
            caller.infer(WORDS, request(http), headers=headers)
        assert caught.value.status() == "400"


async def test_http_aio(here: Cluster, headers: dict[str, str], expected: list[float]) -> None:
    async with http_aio.InferenceServerClient(http_place(here)) as caller:
        assert await caller.is_model_ready(WORDS, headers=headers)
        results = await asyncio.gather(
            *(caller.infer(WORDS, texts(http_aio), headers=headers) for _ in range(4))
        )
        assert all(same(result, expected) for result in results)
        with pytest.raises(InferenceServerException) as caught:
            await caller.infer("nobody", texts(http_aio), headers=headers)
        assert caught.value.status() == "404"


def test_grpc(here: Cluster, headers: dict[str, str], expected: list[float]) -> None:
    with grpc.InferenceServerClient(here.grpc_url) as caller:
        assert caller.is_server_live(headers)
        assert caller.is_server_ready(headers)
        assert caller.is_model_ready(WORDS, headers=headers)
        about = caller.get_model_metadata(WORDS, headers=headers)
        assert "EMBEDDING" in {one.name for one in about.outputs}
        assert same(caller.infer(WORDS, texts(grpc), headers=headers), expected)


def test_grpc_errors(here: Cluster, headers: dict[str, str]) -> None:
    with grpc.InferenceServerClient(here.grpc_url) as caller:
        for model, given, code in (
            (WORDS, {"authorization": "Bearer sk-nobody"}, "UNAUTHENTICATED"),
            (WORDS, {}, "UNAUTHENTICATED"),
            ("nobody", headers, "NOT_FOUND"),
        ):
            with pytest.raises(InferenceServerException) as caught:
                caller.infer(model, texts(grpc), headers=given)
            assert caught.value.status() == f"StatusCode.{code}"


def test_grpc_streams_of_one_model(here: Cluster, headers: dict[str, str]) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    results: list[Any] = []
    with grpc.InferenceServerClient(here.grpc_url) as caller:
        caller.start_stream(lambda result, error: answers.put((result, error)), headers=headers)
        caller.async_stream_infer(STORY, request(grpc))
        while not results or not results[-1].as_numpy("FINISH_REASON").flat[0]:
            result, error = answers.get(timeout=60)
            assert error is None, error
            results.append(result)
        caller.stop_stream()
    assert text_of(results) == told(PROMPT, COUNT)
    assert len(results) > 3


async def test_grpc_aio(here: Cluster, headers: dict[str, str], expected: list[float]) -> None:
    async with grpc_aio.InferenceServerClient(here.grpc_url) as caller:
        assert same(await caller.infer(WORDS, texts(grpc_aio), headers=headers), expected)

        async def wishes() -> Any:
            yield {"model_name": STORY, "inputs": request(grpc_aio)}

        results = []
        async for result, error in caller.stream_infer(wishes(), headers=headers):
            assert error is None, error
            if result.as_numpy("TEXT") is not None:
                results.append(result)
        assert text_of(results) == told(PROMPT, COUNT)
        with pytest.raises(InferenceServerException) as caught:
            await caller.infer("nobody", texts(grpc_aio), headers=headers)
        assert caught.value.status() == "StatusCode.NOT_FOUND"
