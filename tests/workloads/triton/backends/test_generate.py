"""Streams of a decoder: what they say, when they end, and what they cost when the caller leaves.

Holds: preamar_model/backends/generate.py, preamar_model/backends/decoding/generate_request.py,
preamar_model/backends/decoding/post.py, preamar_model/backends/decoding/response.py
"""

import json
import threading
import time

import decoders
import numpy as np
import pytest
import tritonclient.grpc as grpcclient

from tests.workloads.triton.test_counted import counted, listening

PROMPT = "Once upon a time, ééé"


def text(events: list[dict]) -> str:
    return "".join(event["TEXT"] for event in events)


def test_a_greedy_stream_is_the_text_that_the_formula_gives(served):
    events = list(served.stream("story", prompt=PROMPT, max_tokens=60, temperature=0))
    assert text(events) == decoders.greedy(PROMPT, 60).decode(errors="replace")
    assert events[-1]["FINISH_REASON"] == "length"
    assert all(not event["FINISH_REASON"] for event in events[:-1])
    assert {event["INPUT_TOKENS"] for event in events} == {len(PROMPT.encode())}
    counts = [event["OUTPUT_TOKENS"] for event in events]
    assert counts == sorted(counts)
    assert counts[-1] == 60
    assert len(events) > 10, "the text came in one piece"


def test_the_same_seed_tells_the_same_story_and_another_seed_another(served):
    def story(seed: int) -> str:
        wish = {"prompt": "é", "max_tokens": 60, "temperature": 2.0, "seed": seed}
        return text(list(served.stream("story", **wish)))

    assert story(1) == story(1)
    assert len({story(seed) for seed in range(4)}) == 4


def test_a_stop_text_ends_the_stream_and_is_not_shown(served):
    whole = text(list(served.stream("story", prompt=PROMPT, max_tokens=60, temperature=0)))
    stop = whole[20:23]
    events = list(
        served.stream(
            "story", prompt=PROMPT, max_tokens=60, temperature=0, stop=["never this", stop]
        )
    )
    assert text(events) == whole[: whole.index(stop)]
    assert events[-1]["FINISH_REASON"] == "stop"


def test_a_tiny_top_p_is_greedy(served):
    events = list(
        served.stream("story", prompt=PROMPT, max_tokens=20, temperature=1.5, top_p=1e-9, seed=1)
    )
    assert text(events) == decoders.greedy(PROMPT, 20).decode(errors="replace")


def test_the_context_is_the_limit_of_a_stream_without_one(served):
    prompt = "a" * (decoders.SHORT - 5)
    events = list(served.stream("story", prompt=prompt, temperature=0))
    assert events[-1]["FINISH_REASON"] == "length"
    assert events[-1]["OUTPUT_TOKENS"] == 5


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"prompt": "a" * decoders.SHORT}, "context_length_exceeded"),
        ({"prompt": ""}, "prompt is empty"),
        ({"prompt": 3}, "prompt"),
        ({"prompt": "a", "max_tokens": 0}, "max_tokens"),
        ({"prompt": "a", "max_tokens": True}, "max_tokens"),
        ({"prompt": "a", "temperature": "hot"}, "temperature"),
        ({"prompt": "a", "temperature": -1}, "temperature"),
        ({"prompt": "a", "top_p": 1.5}, "top_p"),
        ({"prompt": "a", "stop": [1]}, "stop"),
    ],
)
def test_a_wish_that_cannot_be_met_is_an_error_with_a_sentence(served, wish, said):
    stream = served.stream("story", **wish)
    assert stream.status in {200, 400}
    body = stream.answer.read().decode()
    assert said in json.loads(body.removeprefix("data:").strip())["error"]


LONG = {"prompt": "x" * 50, "max_tokens": 8000, "temperature": 0}


def made(served) -> int:
    """Tokens of the model that serves one stream at a time, of the streams that have ended."""
    try:
        return counted(served, "single").tokens
    except ValueError:  # of which nothing was asked yet
        return 0


def spared(served, left) -> bool:
    """Whether a stream whose caller ``left`` ended before its last token. A caller on a busy machine
    may be late with leaving, so a few may try; without the feature none succeeds."""
    listening(served)
    for _ in range(5):
        before = made(served)
        left()
        # It is served when the stream before it has ended and was counted.
        list(served.stream("single", prompt="y", max_tokens=1, temperature=0))
        if made(served) - before < LONG["max_tokens"]:
            return True
    return False


def test_a_caller_who_leaves_costs_at_most_one_more_token(served):
    def left() -> None:
        stream = served.stream("single", **LONG)
        events = iter(stream)
        for _ in range(20):
            next(events)
        stream.close()

    assert spared(served, left)


def test_a_grpc_caller_who_leaves_frees_the_model_too(served):
    def left() -> None:
        got = threading.Event()
        client = grpcclient.InferenceServerClient(f"127.0.0.1:{served.grpc}")
        client.start_stream(lambda result, error: got.set())
        tensor = grpcclient.InferInput("REQUEST", [1], "BYTES")
        tensor.set_data_from_numpy(np.array([json.dumps(LONG).encode()], dtype=object))
        client.async_stream_infer("single", [tensor])
        assert got.wait(30)
        client.stop_stream(cancel_requests=True)
        client.close()

    assert spared(served, left)


@pytest.mark.parametrize("model", ["story", "chorus"])
def test_streams_make_progress_together(served, model):
    """Four at once: each has its first text before any has ended. `chorus` runs them in one call. A
    busy machine may start a caller late, so a few rounds may try; one by one none succeeds."""

    def wish(number: int) -> dict:
        return {"prompt": f"{number}" * (10 + number), "max_tokens": 300, "temperature": 0}

    alone = {n: text(list(served.stream(model, **wish(n)))) for n in range(4)}

    def abreast() -> bool:
        first, last, told = {}, {}, {}

        def run(number: int) -> None:
            got = []
            for event in served.stream(model, **wish(number)):
                first.setdefault(number, time.monotonic())
                got.append(event)
            last[number], told[number] = time.monotonic(), text(got)

        threads = [threading.Thread(target=run, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert told == alone, "a stream did not end, or said something else than alone"
        return max(first.values()) < min(last.values())

    assert any(abreast() for _ in range(8))


def test_the_configuration_tells_the_gateway_what_it_needs(served):
    status, body = served.get("/v2/models/story/config")
    told = {name: entry["string_value"] for name, entry in json.loads(body)["parameters"].items()}
    assert status == 200
    assert told["task"] == "Generate"
    assert told["max_context"] == str(decoders.SHORT)
    assert told["together"] == "no"
    config = json.loads(served.get("/v2/models/chorus/config")[1])
    assert config["parameters"]["together"]["string_value"] == "yes"
    assert told["chat_template"] == '{{ messages }} "é"\n'
