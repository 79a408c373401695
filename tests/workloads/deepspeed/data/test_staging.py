"""What is staged is the corpus or nothing, and what was copied once is not copied again.

Holds: preamar_train/data/staging.py
"""

from types import SimpleNamespace

import numpy as np
import pytest
from preamar_train.data import index as indexes
from preamar_train.data import reading, shards, staging
from preamar_train.data.corpus import opened
from preamar_train.data.reading import Folder
from preamar_train.data.staging import stage
from preamar_train.failures import Class, TrainerFailure

from tests.workloads.deepspeed.corpora import line, written


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Many shards of few blocks."""
    for module in (shards, reading, indexes, staging):
        monkeypatch.setattr(module, "BLOCK_BYTES", 64, raising=False)
        monkeypatch.setattr(module, "SHARD_BYTES", 256, raising=False)


@pytest.fixture
def source(tmp_path):
    written(tmp_path / "source", {"a": (2000, 300)})
    (tmp_path / "source/tokenizer.json").write_text("{}")
    return tmp_path / "source"


class Counting(Folder):
    """A folder that counts what is read, and breaks when it was told to."""

    read_bytes, left = 0, 10**9

    def read(self, file, first, count):
        Counting.read_bytes += count
        Counting.left -= 1
        if Counting.left < 0:
            raise OSError("the volume went away")
        return super().read(file, first, count)


@pytest.fixture(autouse=True)
def _counts():
    Counting.read_bytes, Counting.left = 0, 10**9


def refusal(act) -> str:
    with pytest.raises(TrainerFailure) as caught:
        act()
    assert caught.value.kind is Class.DATA_ERROR
    return caught.value.sentence


def test_a_staged_corpus_is_the_same_and_is_staged_once(source, tmp_path):
    size = sum(f.stat().st_size for f in source.glob("*.tokens"))
    assert stage(lambda: Folder(source), tmp_path / "disk") == size
    assert opened(tmp_path / "disk", 16).digest == opened(source, 16).digest
    np.testing.assert_array_equal(opened(tmp_path / "disk", 16).sources[0].train[:], line(2000))
    assert (tmp_path / "disk/tokenizer.json").read_text() == "{}"
    assert stage(lambda: Counting(source), tmp_path / "disk") == 0
    assert Counting.read_bytes == 0


def test_a_damaged_source_is_found_and_its_copy_is_never_taken_for_whole(source, tmp_path):
    file = source / "a.train.00003.tokens"
    data = bytearray(file.read_bytes())
    data[70] ^= 1
    file.write_bytes(data)
    said = refusal(lambda: stage(lambda: Folder(source), tmp_path / "disk"))
    assert "Block 1 of a.train.00003.tokens does not match its hash" in said
    assert not (tmp_path / "disk/corpus.json").exists()


def test_a_copy_that_was_broken_off_goes_on_where_it_was(source, tmp_path):
    Counting.left = 30
    with pytest.raises(OSError, match="went away"):
        stage(lambda: Counting(source), tmp_path / "disk")
    assert not (tmp_path / "disk/corpus.json").exists()
    there = {f.name for f in (tmp_path / "disk").glob("*.sums")}
    assert there
    Counting.left = 10**9
    copied = stage(lambda: Counting(source), tmp_path / "disk")
    assert 0 < copied < sum(f.stat().st_size for f in source.glob("*.tokens"))
    np.testing.assert_array_equal(opened(tmp_path / "disk", 16).sources[0].train[:], line(2000))


def test_another_corpus_replaces_what_is_there(source, tmp_path):
    stage(lambda: Folder(source), tmp_path / "disk")
    written(tmp_path / "other", {"a": (1000, 300)}, "uint32")
    (tmp_path / "other/tokenizer.json").write_text("{}")
    stage(lambda: Folder(tmp_path / "other"), tmp_path / "disk")
    found = opened(tmp_path / "disk", 16)
    assert found.digest == opened(tmp_path / "other", 16).digest
    np.testing.assert_array_equal(found.sources[0].train[:], line(1000))


def test_a_volume_that_is_too_small_is_said_before_anything_is_copied(
    source, tmp_path, monkeypatch
):
    free = SimpleNamespace(free=staging.SPARE_BYTES + 100)
    monkeypatch.setattr(staging.shutil, "disk_usage", lambda _: free)
    said = refusal(lambda: stage(lambda: Counting(source), tmp_path / "disk"))
    assert "has 4,600 bytes more" in said
    assert "data.stageSize" in said
    assert Counting.read_bytes == 0
