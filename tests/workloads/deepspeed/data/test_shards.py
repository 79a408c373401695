"""Tokens are read back as they were written, from anywhere, or not at all.

Holds: preamar_train/data/index.py, preamar_train/data/reading.py, preamar_train/data/shards.py
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from preamar_train.data import index as indexes
from preamar_train.data import reading, shards
from preamar_train.data.corpus import opened
from preamar_train.failures import Class, TrainerFailure

from tests.hunting import examples
from tests.workloads.deepspeed.corpora import line, written


def make_small(patch):
    """Blocks and shards of a size at which every border is met."""
    for module in (shards, reading, indexes):
        patch.setattr(module, "BLOCK_BYTES", 64)
        patch.setattr(module, "SHARD_BYTES", 256)


@pytest.fixture
def small(monkeypatch):
    make_small(monkeypatch)


def refusal(act) -> str:
    with pytest.raises(TrainerFailure) as caught:
        act()
    assert caught.value.kind is Class.DATA_ERROR
    return caught.value.sentence


@examples(25, 600)
@given(st.data(), st.sampled_from(["uint16", "uint32"]), st.booleans())
def test_any_slice_is_what_was_written(data, kind, cached):
    count = data.draw(st.integers(1, 700))
    first = data.draw(st.integers(0, count))
    last = data.draw(st.integers(first, count))
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as name:
        make_small(patch)
        folder = Path(name)
        index = written(folder, {"a": (count, 0)}, kind)
        place = reading.Folder(folder)
        place.cached = cached
        tokens = reading.TokenStream(reading.Blocks(place), index.sources[0].train, kind)
        assert len(tokens) == count
        for _ in range(2):  # the second time from what was checked or kept
            np.testing.assert_array_equal(tokens[first:last], line(count, kind)[first:last])


def test_the_digest_does_not_depend_on_how_the_writes_were_cut(small, tmp_path):
    whole = written(tmp_path / "a", {"a": (1000, 100)})
    parts = []
    for part, count in (("train", 1000), ("held", 100)):
        out = shards.StreamWriter(tmp_path / "a", "a", part)
        for start in range(0, 2 * count, 7):
            out.write(line(count).tobytes()[start : start + 7])
        parts.append(out.close())
    assert indexes.Index("uint16", 60000, "", (indexes.SourceIndex("a", *parts),)).digest == (
        whole.digest
    )


@pytest.mark.parametrize("part", [0, 1, 2, 3])
def test_a_damaged_block_is_found_before_a_sample_of_it_is_used(small, tmp_path, part):
    written(tmp_path, {"a": (512, 64)})
    file = tmp_path / "a.train.00001.tokens"
    data = bytearray(file.read_bytes())
    data[64 * part + 5] ^= 1
    file.write_bytes(data)
    corpus = opened(tmp_path, 16)
    # 32 tokens a block, 128 a shard; sample n reads the tokens from 16 n to 16 n + 16.
    bad = {n for n in range(31) if (16 * n + 16) // 32 == 4 + part or 16 * n // 32 == 4 + part}
    for number in range(31):
        if number in bad:
            assert "does not match its hash" in refusal(lambda n=number: corpus.sample("a", n))
        else:
            assert corpus.sample("a", number)[0] == 16 * number


def test_a_torn_shard_is_refused_in_words(small, tmp_path):
    written(tmp_path, {"a": (512, 64)})
    file = tmp_path / "a.train.00003.tokens"
    file.write_bytes(file.read_bytes()[:100])
    corpus = opened(tmp_path, 16)
    assert "has fewer than its 256 bytes" in refusal(lambda: corpus.sample("a", 30))


def test_damaged_sums_are_refused(small, tmp_path):
    written(tmp_path, {"a": (512, 64)})
    file = tmp_path / "a.train.00000.sums"
    file.write_bytes(bytes(file.stat().st_size))
    assert "does not match the corpus" in refusal(lambda: opened(tmp_path, 16).sample("a", 0))


def test_an_index_that_was_changed_or_is_none_is_refused(small, tmp_path):
    written(tmp_path, {"a": (512, 64)})
    file = tmp_path / "corpus.json"
    words = json.loads(file.read_text())
    for change, said in (
        ({"kind": "uint32"}, "own digest"),
        ({"format": "other-9"}, "has the format 'other-9'"),
        ({"blockBytes": 5}, "another size"),
        ({"sources": []}, "own digest"),
        ({"sources": 7}, "no list of shards"),
    ):
        file.write_text(json.dumps(words | change))
        assert said in refusal(lambda: opened(tmp_path, 16))
    words["sources"][0]["train"][0]["file"] = "../../secret"
    file.write_text(json.dumps(words))
    assert "no list of shards" in refusal(lambda: opened(tmp_path, 16))
    file.unlink()
    assert "cannot be read" in refusal(lambda: opened(tmp_path, 16))


def test_memory_and_open_files_stay_bounded(small, monkeypatch, tmp_path):
    monkeypatch.setattr(reading, "KEPT_BYTES", 640)
    monkeypatch.setattr(reading, "OPEN_FILES", 3)
    index = written(tmp_path, {"a": (4000, 0)})
    place = reading.Folder(tmp_path)
    for cached in (True, False):
        place.cached = cached
        blocks = reading.Blocks(place)
        tokens = reading.TokenStream(blocks, index.sources[0].train, "uint16")
        for start in range(0, 4000, 50):
            tokens[start : start + 50]
        assert len(blocks._kept) <= 10
        assert len(place._open) <= 3


@examples(15, 300)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=4), st.integers(1, 30))
def test_held_out_samples_are_spread_evenly_over_all_sources(counts, most):
    if not sum(counts):
        return
    with tempfile.TemporaryDirectory() as name:
        sizes = {f"s{i}": (17, 16 * n + 1) for i, n in enumerate(counts)}
        written(Path(name), sizes)
        found = opened(Path(name), 16).held_out(most)
    every = [16 * i for n in counts for i in range(n)]
    stride = max(1, -(-len(every) // most))
    assert found[:, 0].tolist() == every[::stride]
    assert len(found) <= most


def test_a_file_that_is_missing_is_the_users_error_and_a_disk_that_fails_is_not(
    small, tmp_path, monkeypatch
):
    import errno
    import os

    written(tmp_path, {"a": (512, 64)})
    corpus = opened(tmp_path, 16)

    def fails(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", fails)
        with pytest.raises(TrainerFailure, match="Input/output error") as caught:
            corpus.sample("a", 20)
    assert caught.value.kind is Class.UNKNOWN
    (tmp_path / "a.train.00002.tokens").unlink()
    again = opened(tmp_path, 16)
    assert "cannot be read: No such file" in refusal(lambda: again.sample("a", 20))
