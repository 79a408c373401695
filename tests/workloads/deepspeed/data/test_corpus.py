"""Text becomes samples that lose nothing, and held-out text is never trained on.

Holds: preamar_train/data/corpus.py, preamar_train/data/documents.py, preamar_train/data/tokens.py
"""

import itertools
import json
import shutil
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from preamar_train.data import tokens
from preamar_train.data.corpus import opened, pack
from preamar_train.data.documents import cut, is_held_out, passages
from preamar_train.failures import Class, TrainerFailure
from preamar_train.request import DataSource

from tests.hunting import examples

WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "while",
    "seven",
    "wizards",
    "box",
]


def prose(seed: int, paragraphs: int) -> str:
    chance = np.random.default_rng(seed)
    return "\n\n".join(" ".join(chance.choice(WORDS, 60)) + "." for _ in range(paragraphs))


def source(path, name="books", weight=1):
    return DataSource(name, str(path), Decimal(weight))


def refusal(act) -> str:
    with pytest.raises(TrainerFailure) as caught:
        act()
    assert caught.value.kind is Class.DATA_ERROR
    return caught.value.sentence


@examples(30, 1000)
@given(st.lists(st.text(max_size=3000), max_size=30))
def test_cutting_a_document_loses_no_character(lines):
    lines = [line.replace("\n", " ") + "\n" for line in lines]
    found = list(cut(iter(lines)))
    kept = "".join(each.text for each in found)
    if found and found[-1].ends:
        assert kept == "".join(lines)
    else:  # only white space after the last cut is dropped
        assert kept.rstrip() == "".join(lines).rstrip()
    assert all(len(each.text) < 3 * 4096 for each in found)


def test_files_are_read_in_order_and_hidden_ones_are_not(tmp_path):
    (tmp_path / "b.txt").write_text("second")
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x.jsonl").write_text('{"text": "third"}\n\n{"text": "fourth"}\n')
    (tmp_path / "a.txt").write_text("first")
    (tmp_path / ".hidden.txt").write_text("no")
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data/c.txt").write_text("no")
    (tmp_path / "picture.png").write_bytes(b"no")
    assert [each.text for each in passages("s", tmp_path)] == ["first", "second", "third", "fourth"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", '{"text": "x"}\nnonsense\n', "line 2 of a.jsonl"),
        ("a.jsonl", '{"txt": "x"}\n', "line 1 of a.jsonl"),
        ("a.jsonl", '{"text": 5}\n', "line 1 of a.jsonl"),
        ("a.png", "x", "holds no .txt or .jsonl file"),
    ],
)
def test_data_that_is_none_is_the_users_error_with_its_place(tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    assert words in refusal(lambda: list(passages("s", tmp_path)))


def test_text_that_is_not_there_or_not_utf8_is_refused(tmp_path):
    assert "does not exist" in refusal(lambda: list(passages("s", tmp_path / "none")))
    (tmp_path / "a.txt").write_bytes(bytes(range(128, 256)) * 50)
    assert "not UTF-8" in refusal(lambda: list(passages("s", tmp_path)))


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """Made once: whoever changes the text takes a copy of it."""
    place = tmp_path_factory.mktemp("corpus")
    (place / "text").mkdir()
    for number in range(3):
        (place / f"text/{number}.txt").write_text(prose(number, 900))
    ours = source(place / "text")
    text = tokens.learn([ours], 512)
    tokenizer = tokens.load(text, 512)
    pack([ours], tokenizer, 512, place / "packed")
    return ours, tokenizer, opened(place / "packed", 32)


def test_samples_say_what_the_files_say(packed):
    ours, tokenizer, corpus = packed
    expected = "".join(
        each.text
        for index, each in enumerate(passages("books", Path(ours.path)))
        if not is_held_out(index)
    )
    rows = [corpus.sample("books", i) for i in range(corpus.sizes()["books"])]
    assert all(len(row) == 33 for row in rows)
    assert all(a[-1] == b[0] for a, b in itertools.pairwise(rows))
    flat = np.concatenate([row[:-1] for row in rows])
    read = tokenizer.decode(flat.tolist(), skip_special_tokens=True)
    assert expected.startswith(read)
    assert len(read) > len(expected) - 33 * 40


def test_held_out_text_is_kept_from_training(tmp_path):
    (tmp_path / "text").mkdir()
    lines = [json.dumps({"text": f"zebra{i} " + prose(i, 2)}) for i in range(100)]
    (tmp_path / "text/a.jsonl").write_text("\n".join(lines))
    ours = source(tmp_path / "text")
    tokenizer = tokens.load(tokens.learn([ours], 512), 512)
    pack([ours], tokenizer, 512, tmp_path / "packed")
    corpus = opened(tmp_path / "packed", 16)
    train = tokenizer.decode(corpus.sources[0].train[:].tolist())
    held = tokenizer.decode(corpus.sources[0].held[:].tolist())
    assert [i for i in range(100) if f"zebra{i} " in held] == [25, 75]
    assert [i for i in range(100) if f"zebra{i} " not in train] == [25, 75]


def test_the_digest_follows_the_text(packed, tmp_path):
    ours, tokenizer, corpus = packed
    shutil.copytree(ours.path, tmp_path / "text")
    copy = source(tmp_path / "text")
    pack([copy], tokenizer, 512, tmp_path / "again")
    assert opened(tmp_path / "again", 32).digest == corpus.digest
    with (tmp_path / "text/0.txt").open("a") as stream:
        stream.write("one more word")
    pack([copy], tokenizer, 512, tmp_path / "other")
    assert opened(tmp_path / "other", 32).digest != corpus.digest


def test_too_little_text_is_refused_in_words(tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    ours = source(tmp_path / "a.txt")
    tokenizer = tokens.load(tokens.learn([ours], 512), 512)
    pack([ours], tokenizer, 512, tmp_path / "packed")
    assert "too little text" in refusal(lambda: opened(tmp_path / "packed", 32))
    (tmp_path / "b.txt").write_text(prose(0, 20))
    ours = source(tmp_path / "b.txt")
    pack([ours], tokenizer, 512, tmp_path / "packed")
    assert "held out" in refusal(lambda: opened(tmp_path / "packed", 32))


def test_a_tokenizer_that_does_not_fit_the_model_is_refused(packed):
    _, tokenizer, _ = packed
    assert "does not fit" in refusal(lambda: tokens.load(tokenizer.to_str(), 300))


def test_every_byte_can_be_written(packed):
    _, tokenizer, _ = packed
    text = "Ünïcode \t\x00 🦓 日本"
    assert tokenizer.decode(tokenizer.encode(text).ids) == text
