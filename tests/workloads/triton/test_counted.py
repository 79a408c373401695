"""What the real model server counts of its tokens, and what the gateway reads in it."""

import socket
import time
import urllib.request

import pytest

from preamar.gateway.engine import Counts, counts_of

PROMPT = "Once upon a time, ééé"


def counted(running, model: str) -> Counts:
    with urllib.request.urlopen(f"http://127.0.0.1:{running.metrics}/metrics", timeout=5) as answer:
        return counts_of(answer.read().decode(), model)


@pytest.fixture
def before(served):
    """What was counted of each model before, by whatever test."""
    deadline = time.monotonic() + 30
    while True:
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", served.metrics)):
                break
        assert time.monotonic() < deadline
        time.sleep(0.05)

    def since(model: str) -> Counts:
        return counted(served, model).since(known[model])

    # A model of which nothing was asked may not be told of yet.
    known = {}
    for model in ("story", "minilm"):
        try:
            known[model] = counted(served, model)
        except ValueError:
            known[model] = Counts()
    return since


def test_a_stream_is_counted_when_it_ends_with_what_its_caller_was_told(served, before):
    told = [list(served.stream("story", prompt=PROMPT, max_tokens=n))[-1] for n in (1, 7, 20)]
    tokens = sum(event["INPUT_TOKENS"] + event["OUTPUT_TOKENS"] for event in told)
    assert before("story") == Counts(3, tokens)


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
    told = [sum(served.embed(*part)[1]) for part in (texts, texts[:1])]
    assert before("minilm") == Counts(2, sum(told))
