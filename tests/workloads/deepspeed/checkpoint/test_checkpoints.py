"""A checkpoint is loaded only if every byte of it is what was written.

Holds: preamar_train/checkpoint/manifest.py, preamar_train/checkpoint/store.py
"""

import json
import os

import pytest
from preamar_train.checkpoint import manifest as manifests
from preamar_train.checkpoint.manifest import Manifest, TornCheckpoint
from preamar_train.checkpoint.store import Store, name_of
from preamar_train.failures import Class, TrainerFailure

FILES = {"model.pt": b"weights" * 1000, "optim/rank0.pt": b"moments" * 500, "tokenizer.json": b"{}"}


def written(store: Store, step: int, files=FILES):
    """A published checkpoint, made by the steps that ranks take."""
    folder = store.path / store.saving(step)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    plan = Manifest(
        step=step,
        consumed=step * 8,
        world_size=2,
        zero_stage=1,
        attempt=1,
        uid="u1",
        config="sha256:c",
        data="sha256:d",
        at="2026-01-01T00:00:00Z",
        files=manifests.sums(folder, manifests.names_in(folder), to_disk=True),
    )
    manifests.write(folder, plan)
    return store.publish(step)


@pytest.fixture
def store(tmp_path):
    result = Store(tmp_path / "run1", "u1", 1)
    result.claim()
    return result


def test_what_was_written_is_found_again(store):
    folder = written(store, 50)
    found = store.newest()
    assert found.folder == folder
    assert found.manifest.consumed == 400
    assert found.manifest.bytes == sum(map(len, FILES.values()))
    assert found.manifest.hash.startswith("sha256:")
    assert (store.path / "latest").read_text() == name_of(50)


def tear_length(folder):
    with (folder / "model.pt").open("r+b") as stream:
        stream.truncate(100)


def tear_bit(folder):
    with (folder / "optim/rank0.pt").open("r+b") as stream:
        stream.seek(1234)
        stream.write(b"\xff")


def tear_missing(folder):
    (folder / "model.pt").unlink()


def tear_manifest(folder):
    (folder / "manifest.json").unlink()


def tear_half_a_manifest(folder):
    data = (folder / "manifest.json").read_bytes()
    (folder / "manifest.json").write_bytes(data[: len(data) // 2])


def tear_empty_manifest(folder):
    (folder / "manifest.json").write_text("{}")


@pytest.mark.parametrize(
    ("tear", "words"),
    [
        (tear_length, "model.pt has 100 bytes instead of 7000"),
        (tear_bit, "optim/rank0.pt is damaged"),
        (tear_missing, "model.pt is missing"),
        (tear_manifest, "no manifest"),
        (tear_half_a_manifest, "manifest is damaged"),
        (tear_empty_manifest, "manifest is damaged"),
    ],
)
def test_a_torn_checkpoint_is_passed_over_and_named(store, tear, words):
    whole = written(store, 50)
    tear(written(store, 100))
    found = store.newest()
    assert found.folder == whole
    assert len(found.skipped) == 1
    assert found.skipped[0].startswith("step-00000100: ")
    assert words in found.skipped[0]


def test_a_stale_latest_pointer_is_not_believed(store):
    written(store, 50)
    (store.path / "latest").write_text(name_of(999))
    assert store.newest().manifest.step == 50


def test_only_the_newest_whole_ones_are_kept(store):
    for step in (10, 20, 30, 40):
        written(store, step)
    store.prune(2)
    assert [each.name for each in store.folders()] == [name_of(30), name_of(40)]


def test_the_last_whole_one_outlives_any_number_of_torn_ones(store):
    written(store, 10)
    for step in (20, 30, 40):
        tear_length(written(store, step))
    store.prune(1)
    assert store.newest().manifest.step == 10


def test_a_step_that_was_torn_can_be_written_again(store):
    tear_length(written(store, 50))
    written(store, 50)
    assert store.newest().manifest.step == 50
    assert store.newest().skipped == ()


def test_a_folder_that_is_being_written_is_never_read_and_swept_by_the_next_attempt(store):
    folder = store.path / store.saving(50)
    folder.mkdir()
    (folder / "model.pt").write_bytes(b"half")
    assert store.newest().folder is None
    Store(store.path, "u1", 2).claim()
    assert not folder.exists()


def test_an_older_attempt_can_no_longer_publish(store):
    Store(store.path, "u1", 2).claim()
    with pytest.raises(TrainerFailure) as caught:
        written(store, 50)
    assert caught.value.kind is Class.CHECKPOINT_ERROR
    assert Store(store.path, "u1", 2).newest().folder is None
    with pytest.raises(TrainerFailure, match="already belongs to attempt 2"):
        store.claim()


def test_a_volume_that_cannot_be_written_is_said_in_words(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TrainerFailure) as caught:
        Store(tmp_path / "file/run1", "u1", 1).claim()
    assert caught.value.kind is Class.CHECKPOINT_ERROR
    assert "cannot be written" in caught.value.sentence


def test_a_kill_at_any_file_operation_of_publishing_leaves_a_whole_checkpoint(store, monkeypatch):
    written(store, 50)
    operations = 0

    class Killed(BaseException):
        pass

    def dying(real, at):
        def act(*args, **kwargs):
            nonlocal operations
            operations += 1
            if operations == at:
                raise Killed
            return real(*args, **kwargs)

        return act

    for at in range(1, 30):
        operations = 0
        with monkeypatch.context() as patch:
            for owner, name in ((os, "rename"), (os, "replace"), (os, "fsync"), (os, "open")):
                patch.setattr(owner, name, dying(getattr(owner, name), at))
            try:
                written(store, 50 + at)
                finished = True
            except Killed:
                finished = False
        again = Store(store.path, "u1", 1)
        again.claim()
        found = again.newest()
        assert found.skipped == ()
        assert found.manifest is not None
        assert manifests.verify(found.folder)
        if finished:
            assert found.manifest.step == 50 + at
            return
    pytest.fail("publishing never ended")


def test_reading_a_manifest_says_torn_and_nothing_else(store):
    folder = written(store, 50)
    for content in (b"", b"[]", b"null", b'{"files": 3}', json.dumps({"files": {}}).encode()):
        (folder / "manifest.json").write_bytes(content)
        with pytest.raises(TornCheckpoint):
            manifests.read(folder)


def test_what_a_killed_attempt_left_undone_after_its_checkpoint_is_done_by_the_next(store):
    for step in (2, 4, 6):
        written(store, step)
    (store.path / "latest").write_text(name_of(4))
    store.settle(store.newest(), keep=2)
    assert (store.path / "latest").read_text() == name_of(6)
    assert [f.name for f in store.folders()] == [name_of(4), name_of(6)]


def test_a_damaged_checkpoint_of_full_length_costs_no_whole_one_its_place(store):
    written(store, 2)
    tear_bit(written(store, 4))
    found = store.newest()
    store.settle(found, keep=1)
    assert found.folder.name == name_of(2)
    assert found.folder.exists()
    assert (store.path / "latest").read_text() == name_of(2)
