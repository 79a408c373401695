"""What the real model server counts of its tokens, and what the gateway reads in it.

Holds: preamar_model/backends/counters.py, gateway/reporting/engine_metrics.py
"""

import socket
import time
import urllib.request

import pytest

from preamar.gateway.reporting.engine_metrics import Counts, counts_of

PROMPT = "Once upon a time, ééé"


def counted(running, model: str) -> Counts:
    with urllib.request.urlopen(f"http://127.0.0.1:{running.metrics}/metrics", timeout=5) as answer:
        return counts_of(answer.read().decode(), model)


def listening(running) -> None:
    """Triton opens its port for metrics after the other two."""
    deadline = time.monotonic() + 30
    while True:
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", running.metrics)):
                return
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def before(served):
    """What was counted of each model before, by whatever test."""
    deadline = time.monotonic() + 30
    listening(served)

    def since(model: str) -> Counts:
        return counted(served, model).since(known[model])

    known = told(served)
    # What a test before this one asked last may be counted a moment later.
    while (now := told(served)) != known and time.monotonic() < deadline:
        known = now
    return since


def told(running) -> dict[str, Counts]:
    """After a pause. A model of which nothing was asked may not be told of yet."""
    time.sleep(0.2)
    found = {}
    for model in ("story", "minilm"):
        try:
            found[model] = counted(running, model)
        except ValueError:
            found[model] = Counts()
    return found


def wait_for(look, expected: Counts) -> None:
    """The server counts a request just after its last answer has left."""
    deadline = time.monotonic() + 10
    while (seen := look()) != expected and time.monotonic() < deadline:
        time.sleep(0.02)
    assert seen == expected


def test_a_stream_is_counted_when_it_ends_with_what_its_caller_was_told(served, before):
    streams = [list(served.stream("story", prompt=PROMPT, max_tokens=n))[-1] for n in (1, 7, 20)]
    tokens = sum(event["INPUT_TOKENS"] + event["OUTPUT_TOKENS"] for event in streams)
    wait_for(lambda: before("story"), Counts(3, tokens))


def test_a_stream_whose_caller_left_is_counted_as_far_as_it_came(served, before):
    stream = served.stream("story", prompt=PROMPT, max_tokens=400, temperature=0)
    seen = [event for event, _ in zip(stream, range(5), strict=False)][-1]
    stream.close()
    deadline = time.monotonic() + 10
    while not (tokens := before("story").tokens):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    least = seen["INPUT_TOKENS"] + seen["OUTPUT_TOKENS"]
    assert least <= tokens < seen["INPUT_TOKENS"] + 400


def test_embeddings_are_counted_as_they_are_told_however_they_are_batched(served, before):
    texts = ["one", "two words", "now three words"]
    tokens = [sum(served.embed(*part)[1]) for part in (texts, texts[:1])]
    wait_for(lambda: before("minilm"), Counts(2, sum(tokens)))
