"""The pure parts of streaming: whole characters only, stop texts held back, drawing by chance.

Holds: preamar_model/backends/decoding/detokenise.py, preamar_model/backends/decoding/sampling.py,
preamar_model/backends/decoding/stops.py
"""

import decoders
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from preamar_model.backends.decoding.detokenise import Vocabulary
from preamar_model.backends.decoding.sampling import Sampler
from preamar_model.backends.decoding.stops import Stops
from tokenizers import Tokenizer, models, normalizers
from tokenizers import decoders as spellers

from tests.hunting import examples

BYTES = Vocabulary(decoders.tokenizer())


@examples(40, 1000)
@given(st.binary(max_size=40))
def test_pieces_of_any_bytes_join_to_the_whole_text(raw):
    stream = BYTES.stream()
    pieces = [stream.push(byte) for byte in raw]
    assert "".join(pieces) + stream.end() == raw.decode(errors="replace")


@examples(40, 1000)
@given(st.text(max_size=20))
def test_no_piece_of_a_text_holds_half_a_character(text):
    stream = BYTES.stream()
    pieces = [stream.push(byte) for byte in text.encode()]
    assert "".join(pieces) == text
    assert all(len(piece) <= 1 for piece in pieces)


def test_special_tokens_are_not_text():
    assert BYTES.special == {decoders.END}
    assert BYTES.stream().push(decoders.END) == ""


def fallback() -> Tokenizer:
    """A vocabulary in SentencePiece's manner: words with a mark for a space, bytes as <0xNN>."""
    words = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁Hello", "▁world", "!"]
    vocabulary = {word: number for number, word in enumerate(words)}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True, unk_token="<unk>"))
    made.normalizer = normalizers.Replace(" ", "▁")
    parts = [
        spellers.Replace("▁", " "),
        spellers.ByteFallback(),
        spellers.Fuse(),
        spellers.Strip(" ", 1, 0),
    ]
    made.decoder = spellers.Sequence(parts)
    return made


@examples(40, 1000)
@given(st.lists(st.sampled_from(["▁Hello", "▁world", "!", *"é世👋"]), min_size=1, max_size=12))
def test_pieces_of_a_vocabulary_of_words_join_to_the_whole_text(words):
    tokenizer = fallback()
    tokens = []
    for word in words:
        known = tokenizer.token_to_id(word)
        tokens += [known] if known is not None else [byte + 1 for byte in word.encode()]
    stream = Vocabulary(tokenizer).stream()
    assert "".join(stream.push(t) for t in tokens) + stream.end() == tokenizer.decode(tokens)


@examples(40, 1000)
@given(
    st.text("abc", max_size=30),
    st.lists(st.text("abc", min_size=1, max_size=4), max_size=3),
    st.data(),
)
def test_stop_texts_end_the_text_wherever_it_is_cut_into_pieces(text, stops, data):
    watch, shown, stopped, rest = Stops(tuple(stops)), "", False, text
    while rest and not stopped:
        size = data.draw(st.integers(1, len(rest)))
        piece, rest = rest[:size], rest[size:]
        more, stopped = watch.push(piece)
        shown += more
    if not stopped:
        shown += watch.end()
    met = [text.find(stop) for stop in stops if stop in text]
    assert stopped == bool(met)
    if met:
        # Which of two overlapping stops is met first may depend on the pieces; none is ever shown.
        assert not any(stop in shown for stop in stops)
        assert text.startswith(shown)
    else:
        assert shown == text


def test_tokens_are_drawn_as_often_as_their_chances_say():
    logits = np.log(np.array([0.5, 0.3, 0.2], np.float32))
    sampler = Sampler(1.0, 1.0, 7)
    counts = np.bincount([sampler.pick(logits) for _ in range(6000)], minlength=3) / 6000
    assert counts == pytest.approx([0.5, 0.3, 0.2], abs=0.03)


def test_top_p_keeps_the_fewest_tokens_that_reach_it():
    logits = np.log(np.array([0.1, 0.5, 0.3, 0.1], np.float32))
    sampler = Sampler(1.0, 0.75, 7)
    assert {sampler.pick(logits) for _ in range(300)} == {1, 2}


def test_logits_without_sense_are_an_error():
    with pytest.raises(ValueError, match="logits"):
        Sampler(0.0, 1.0, None).pick(np.full(4, np.nan, np.float32))
