"""Streams that share calls of the graph: what they say, what they cost, and who hears of an error.

Holds: preamar_model/backends/decoding/continuous_batching.py,
preamar_model/backends/decoding/decoder.py, preamar_model/backends/decoding/ragged.py,
preamar_model/backends/decoding/sequence.py, preamar_model/backends/decoding/single_stream.py,
preamar_model/backends/runtime.py
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

import decoders
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from preamar_model.backends.decoding import continuous_batching, ragged
from preamar_model.backends.decoding.continuous_batching import CHUNK, Together, parts
from preamar_model.backends.decoding.decoder import Decoder
from preamar_model.backends.decoding.detokenise import Vocabulary
from preamar_model.backends.decoding.generate_request import GenerateRequest
from preamar_model.backends.decoding.sequence import Story
from preamar_model.backends.decoding.single_stream import Alone
from preamar_model.backends.runtime import LocalGraph

from tests.hunting import examples


def decoder(path: Path, **changes: object) -> Decoder:
    runner = LocalGraph(str(path), 1)
    empty = {
        name: np.zeros((1, value.shape[1], 0, value.shape[3]), np.float32)
        for name, value in runner.inputs.items()
        if name.startswith("past_key_values.")
    }
    made = {
        "run": runner.run,
        "array": runner.array,
        "inputs": frozenset(runner.inputs),
        "empty": empty,
        "vocabulary": Vocabulary(decoders.tokenizer()),
        "context": decoders.SHORT,
        "ends": frozenset([decoders.END]),
        "start": None,
    }
    return Decoder(**(made | changes))


@pytest.fixture(scope="module")
def masked(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("masked") / "model.onnx"
    return decoders.graph(place, decoders.weights(), masked=True)


@pytest.fixture(scope="module")
def shared(masked) -> Decoder:
    return decoder(masked)


def said(engine: Together | Alone, due: dict[int, list[Story]], leave: dict[int, int]) -> dict:
    """The tokens of each stream. ``due`` are those that come before a turn, ``leave`` says after
    how many tokens a caller goes away."""
    told: dict[Story, list[int]] = {}
    number, count, open_ones = {}, 0, set()
    turn = 0
    while open_ones or any(at >= turn for at in due):
        for story in due.get(turn, ()):
            engine.open(story)
            open_ones.add(story)
            number[story], count = count, count + 1
            told[story] = []
        for story, logits in engine.turn():
            assert story in open_ones, "a stream that is closed was told of a token"
            assert not isinstance(logits, Exception), logits
            piece = story.take(logits)
            told[story].append(story.pending[0])
            if piece.finish or len(told[story]) == leave.get(number[story]):
                engine.close(story)
                open_ones.remove(story)
        turn += 1
        assert turn < 3000
    return {number[story]: tokens for story, tokens in told.items()}


def wishes() -> st.SearchStrategy:
    length = st.one_of(st.integers(1, 12), st.integers(CHUNK - 1, 3 * CHUNK), st.integers(250, 300))
    stream = st.tuples(
        st.integers(0, 25), length, st.integers(1, 30), st.none() | st.integers(1, 9)
    )
    return st.lists(stream, min_size=1, max_size=8)


@examples(12, 250)
@given(wishes(), st.sampled_from((1, 40, continuous_batching.SLACK)))
def test_a_stream_says_the_same_whoever_comes_and_leaves_beside_it(shared, streams, slack):
    def run(engine: Together | Alone) -> dict:
        due: dict[int, list[Story]] = {}
        leave, number = {}, 0
        for at in range(26):
            for turn, length, most, gone in streams:
                if turn != at:
                    continue
                prompt = bytes(65 + (number * 7 + n * n) % 26 for n in range(length)).decode()
                wish = GenerateRequest(prompt=prompt, max_tokens=most, temperature=0)
                due.setdefault(at, []).append(Story(shared, wish))
                if gone is not None:
                    leave[number] = gone
                number += 1
        return said(engine, due, leave)

    before = continuous_batching.SLACK
    continuous_batching.SLACK = slack
    try:
        assert run(Together(shared)) == run(Alone(shared))
    finally:
        continuous_batching.SLACK = before


def test_streams_of_different_lengths_need_one_call_a_token(masked):
    calls = []
    plain = decoder(masked)

    def run(feed: dict, outputs: list[str]) -> dict:
        calls.append(feed["input_ids"].shape)
        return plain.run(feed, outputs)

    counted = decoder(masked, run=run)
    stories = [
        Story(counted, GenerateRequest(prompt="x" * n, max_tokens=20, temperature=0))
        for n in (1, 5, 9, 20)
    ]
    told = said(Together(counted), {0: stories}, {})
    assert [len(tokens) for tokens in told.values()] == [20] * 4
    assert calls.count((4, 1)) == 19
    assert len(calls) == 19 + 4


def test_a_long_prompt_is_read_in_pieces_between_the_tokens_of_others(masked):
    calls = []
    plain = decoder(masked)

    def run(feed: dict, outputs: list[str]) -> dict:
        calls.append(feed["input_ids"].shape[1])
        return plain.run(feed, outputs)

    counted = decoder(masked, run=run)
    speaks = Story(counted, GenerateRequest(prompt="a", max_tokens=60, temperature=0))
    long = Story(counted, GenerateRequest(prompt="b" * 400, max_tokens=2, temperature=0))
    short = Story(counted, GenerateRequest(prompt="c" * 9, max_tokens=2, temperature=0))
    engine = Together(counted)
    told = said(engine, {0: [speaks], 3: [long], 4: [short]}, {})
    assert {n: len(tokens) for n, tokens in told.items()} == {0: 60, 1: 2, 2: 2}
    assert max(calls) == CHUNK
    pieces = [at for at, count in enumerate(calls) if count == CHUNK]
    assert len(pieces) >= 400 // CHUNK - 1
    assert all(b - a > 1 for a, b in itertools.pairwise(pieces)), "nobody spoke between"
    assert calls.index(9) < pieces[4], "the short prompt waited for the long one"


def test_what_breaks_a_shared_call_is_told_to_the_one_at_fault(masked):
    plain = decoder(masked)
    fault = ord("!")

    def run(feed: dict, outputs: list[str]) -> dict:
        if (feed["input_ids"] == fault).any() and feed["input_ids"].shape[1] == 1:
            raise RuntimeError("this token is not to my taste")
        return plain.run(feed, outputs)

    picky = decoder(masked, run=run)
    engine = Together(picky)
    stories = [
        Story(picky, GenerateRequest(prompt="abc"[n], max_tokens=9, temperature=0))
        for n in range(3)
    ]
    for story in stories:
        engine.open(story)
    heard: dict[Story, list] = {story: [] for story in stories}
    for _ in range(12):
        for story, told in engine.turn():
            heard[story].append(told)
            if isinstance(told, Exception) or story.take(told).finish:
                engine.close(story)
            elif story is stories[1] and len(heard[story]) == 4:
                story.pending = [fault]
    assert [len(heard[story]) for story in stories] == [9, 5, 9]
    assert isinstance(heard[stories[1]][-1], RuntimeError)
    assert not any(isinstance(told, Exception) for told in heard[stories[0]] + heard[stories[2]])


def test_nothing_is_kept_of_streams_that_have_ended(shared):
    engine = Together(shared)
    stories = [
        Story(shared, GenerateRequest(prompt="a" * n, max_tokens=4, temperature=0)) for n in (1, 90)
    ]
    said(engine, {0: stories}, {0: 2})
    assert not list(engine.turn())
    assert [*engine.groups, *engine.reading, *engine.fresh, *engine.gone] == []


class Length:
    def __init__(self, length: int) -> None:
        self.length = length


@examples(50, 1000)
@given(st.lists(st.integers(1, 9000), max_size=16))
def test_no_stream_is_padded_to_more_than_twice_its_length_and_a_little(lengths):
    found = parts([Length(n) for n in lengths])
    assert sorted(story.length for part in found for story in part) == sorted(lengths)
    for part in found:
        longest = max(story.length for story in part)
        for story in part:
            assert longest <= max(2 * story.length + 1, story.length + continuous_batching.SLACK)


def unmasked(masked: Path, tmp_path: Path) -> Iterator[Decoder]:
    yield decoder(decoders.graph(tmp_path / "plain.onnx", decoders.weights()))
    deaf = decoder(masked)

    def run(feed: dict, outputs: list[str]) -> dict:
        mask = np.ones_like(feed["attention_mask"])
        return deaf.run(feed | {"attention_mask": mask}, outputs)

    yield decoder(masked, run=run)


def test_a_graph_that_does_not_heed_the_mask_runs_row_by_row(masked, shared, tmp_path):
    assert ragged.together(shared)
    for other in unmasked(masked, tmp_path):
        assert not ragged.together(other)
