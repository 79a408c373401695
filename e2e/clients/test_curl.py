"""curl as it is: one answer, an event stream to its [DONE], and an error that says what to do."""

import json
import subprocess
from typing import Any

import pytest

from e2e.clients.models import STORY, WORDS, told
from e2e.cluster import Cluster

PROMPT, COUNT = "High tide lifts", 24
pytestmark = pytest.mark.usefixtures("models")


def curl(here: Cluster, path: str, body: Any, key: str | None) -> tuple[int, str, str]:
    """Status, content type and body. The key goes by standard input, not by the command line."""
    given = f'header = "Authorization: Bearer {key}"\n' if key else ""
    argv = ["curl", "--silent", "--show-error", "--no-buffer", "--noproxy", "*", "--max-time", "60"]
    argv += ["--config", "-", "--header", "Content-Type: application/json"]
    argv += ["--data", json.dumps(body), "--write-out", "\n%{http_code} %{content_type}"]
    done = subprocess.run(
        [*argv, f"{here.gateway_url}{path}"],
        input=given,
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    text, _, told = done.stdout.rpartition("\n")
    code, _, kind = told.partition(" ")
    return int(code), kind, text


def test_an_answer(here: Cluster) -> None:
    code, kind, text = curl(here, "/v1/embeddings", {"model": WORDS, "input": "hello"}, here.key())
    assert (code, kind.partition(";")[0]) == (200, "application/json")
    assert len(json.loads(text)["data"][0]["embedding"]) == 384


def test_an_event_stream_ends_with_done(here: Cluster) -> None:
    wish = {"model": STORY, "prompt": PROMPT, "max_tokens": COUNT, "temperature": 0, "stream": True}
    code, kind, text = curl(here, "/v1/completions", wish, here.key())
    assert (code, kind.partition(";")[0]) == (200, "text/event-stream")
    events = [line for line in text.split("\n\n") if line]
    assert all(event.startswith("data: ") for event in events)
    *chunks, done = [event.removeprefix("data: ") for event in events]
    assert done == "[DONE]"
    assert "".join(json.loads(one)["choices"][0]["text"] for one in chunks) == told(PROMPT, COUNT)


@pytest.mark.parametrize(
    ("path", "key", "body", "status", "code"),
    [
        ("/v1/completions", None, {"model": STORY}, 401, "invalid_api_key"),
        ("/v1/completions", "good", {"model": "nobody", "prompt": "x"}, 404, "model_not_found"),
        ("/v1/nothing", "good", {}, 404, "not_found"),
    ],
)
def test_an_error_has_four_keys_and_a_sentence(
    here: Cluster, path: str, key: str | None, body: Any, status: int, code: str
) -> None:
    got, _, text = curl(here, path, body, here.key() if key else None)
    error = json.loads(text)["error"]
    assert (got, error["code"]) == (status, code)
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"].endswith(".")
