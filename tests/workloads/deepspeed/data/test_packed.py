"""Text is packed once, and never taken for other text.

Holds: preamar_train/data/packed.py, preamar_train/start/material.py
"""

from decimal import Decimal
from types import SimpleNamespace

import numpy as np
import pytest
from preamar_train.data import packed, tokens
from preamar_train.failures import TrainerFailure
from preamar_train.request import DataSource
from preamar_train.start import material

VOCABULARY = 300
SHAPE = SimpleNamespace(vocabulary=VOCABULARY, sequence=16)


class Alone:
    """The only rank of a gang."""

    rank = local_rank = 0

    def hear(self, words):
        return [words]


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A job's attempts: each returns its corpus, whether it had to pack, and the same order."""
    text = tmp_path / "text"
    text.mkdir()
    (text / "a.txt").write_text("the tide comes in and goes out\n\n" * 4000)
    (tmp_path / "checkpoints").mkdir()
    sources = (DataSource("text", str(text), Decimal(1)),)
    tokenizer = tokens.learn(sources, VOCABULARY)
    pack, begun = material.pack, []

    def counted(*arguments):
        begun.append(1)
        pack(*arguments)

    monkeypatch.setattr(material, "pack", counted)

    def attempt(number: int, tokenizer: str = tokenizer):
        request = SimpleNamespace(
            prepared="",
            scratch=str(tmp_path / f"scratch-{number}"),
            checkpoint=SimpleNamespace(path=str(tmp_path / "checkpoints")),
        )
        before = len(begun)
        corpus = material.corpus_of(request, sources, SHAPE, Alone(), tokenizer, lambda: None)
        return corpus, len(begun) > before

    return SimpleNamespace(attempt=attempt, text=text / "a.txt", tokenizer=tokenizer, path=tmp_path)


def test_the_second_attempt_finds_the_tokens_of_the_first(job):
    first, had_to = job.attempt(1)
    assert had_to
    second, had_to = job.attempt(2)
    assert not had_to
    assert second.digest == first.digest
    np.testing.assert_array_equal(second.sample("text", 3), first.sample("text", 3))


def test_text_or_a_tokenizer_that_has_changed_is_packed_anew(job):
    first, _ = job.attempt(1)
    words = job.text.read_text()
    job.text.write_text("T" + words[1:])  # as long, and as old for all that anybody can tell
    second, had_to = job.attempt(2)
    assert had_to
    assert second.digest != first.digest
    assert not job.attempt(3)[1]
    other = job.tokenizer.replace('"version"', ' "version"', 1)
    assert job.attempt(4, other)[1]


def test_tokens_that_were_damaged_are_packed_anew_and_kept_whole_again(job, capfd):
    first, _ = job.attempt(1)
    (shard, *_) = (job.path / "checkpoints/.packed").glob("*.train.*.tokens")
    data = bytearray(shard.read_bytes())
    data[7] ^= 1
    shard.write_bytes(data)
    second, had_to = job.attempt(2)
    assert had_to
    assert second.digest == first.digest
    assert "cannot be used" in capfd.readouterr().out
    assert not job.attempt(3)[1]


def test_tokens_that_were_kept_in_part_are_never_used(job, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(packed.shutil, "copyfile", full)
        assert job.attempt(1)[1]
    assert not list((job.path / "checkpoints").iterdir())
    assert job.attempt(2)[1]
    assert not job.attempt(3)[1]


def test_checkpoints_come_before_tokens_where_space_is_short(job, monkeypatch):
    monkeypatch.setattr(packed, "MOST_BYTES", 100)
    job.attempt(1)
    assert not list((job.path / "checkpoints").iterdir())


def test_text_that_cannot_be_read_is_the_same_failure_as_without(job):
    job.text.unlink()
    with pytest.raises(TrainerFailure, match="holds no"):
        job.attempt(1)
