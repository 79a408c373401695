"""A state that is not what was saved is known by it, in words that have the figures.

Holds: preamar_train/checkpoint/proof.py, preamar_train/checkpoint/universal.py,
preamar_train/start/continuity.py
"""

from dataclasses import replace

import numpy as np
import pytest
from preamar_train.checkpoint import proof as proofs
from preamar_train.checkpoint import universal
from preamar_train.checkpoint.manifest import TornCheckpoint
from preamar_train.checkpoint.proof import Broken, Proof, digest
from preamar_train.checkpoint.store import Store
from preamar_train.failures import Class, TrainerFailure
from preamar_train.start import continuity

from tests.workloads.deepspeed.checkpoint.test_checkpoints import written

SAVED = Proof(
    {"a": {"fp32": "1", "exp_avg": "2"}, "b": {"fp32": "3", "exp_avg": "4"}},
    {"the optimizer's step": [50.0], "the learning rate": [0.003]},
    5.0,
    1000.0,
)


def test_the_hash_is_of_the_numbers_whatever_their_shape_and_the_sign_of_zero():
    values = np.array([[1.5, -0.0], [3.0, 0.0]], np.float32)
    assert digest(values) == digest(values.ravel()) == digest(np.abs(values))
    assert digest(values) == digest(values.astype(np.float64))
    assert digest(values) != digest(values.T)
    nearly = values.copy()
    nearly[0, 0] = np.nextafter(np.float32(1.5), np.float32(2))
    assert digest(nearly) != digest(values)


def test_a_proof_is_read_as_it_was_written(tmp_path):
    proofs.write(tmp_path, SAVED)
    assert proofs.read(tmp_path) == SAVED
    (tmp_path / "proof.json").write_text('{"tensors": {}}')
    with pytest.raises(Broken, match="no proof"):
        proofs.read(tmp_path)


def other(**hashes):
    return replace(SAVED, tensors={**SAVED.tensors, **hashes})


DIFFER = [
    (other(a={"fp32": "9", "exp_avg": "2"}), r"1 of 4 tensors .* a \(fp32\) first"),
    (other(b={"fp32": "3", "exp_avg": "9"}), r"b \(exp_avg\)"),
    (other(b={"fp32": "3"}), r"b \(exp_avg\)"),
    (other(c={"fp32": "5"}), "c first"),
    (replace(SAVED, tensors={}), "4 of 4 tensors"),
    (replace(SAVED, position={**SAVED.position, "the optimizer's step": [0.0]}), r"step was \[50"),
    (replace(SAVED, canary=5.00002), "5.0000000 when it was saved and is 5.0000200"),
    (replace(SAVED, canary=float("nan")), "nan"),
]


@pytest.mark.parametrize(("now", "words"), DIFFER)
def test_what_differs_is_named(now, words):
    with pytest.raises(Broken, match=words):
        proofs.compare(SAVED, now, "FP32")


def test_the_canary_may_differ_by_the_precision_and_by_how_much_is_told():
    assert proofs.compare(SAVED, replace(SAVED, canary=5.000009), "FP32") == pytest.approx(9e-6)
    assert proofs.compare(SAVED, replace(SAVED, canary=4.991), "BF16") == pytest.approx(-0.009)
    with pytest.raises(Broken):
        proofs.compare(SAVED, replace(SAVED, canary=4.98), "BF16")


@pytest.fixture
def store(tmp_path):
    result = Store(tmp_path / "run1", "u1", 1)
    result.claim()
    return result


SHARDS = {"mp_rank_00_model_states.pt": b"w", "zero_pp_rank_0_mp_rank_00_optim_states.pt": b"o"}


def converted(store, source):
    """What the converter leaves, from its manifest's side."""
    from preamar_train.checkpoint import manifest as manifests

    folder = universal.universal_of(source)
    (folder / "zero/a").mkdir(parents=True)
    (folder / "zero/a/fp32.pt").write_bytes(b"whole")
    found = manifests.read(source)
    files = manifests.sums(folder, manifests.names_in(folder), to_disk=True)
    manifests.write(folder, replace(found, files=files, source=found.hash, hash=""))
    return folder


def test_shards_load_at_their_own_size_and_elsewhere_only_converted(store):
    source = written(store, 50, SHARDS)  # by two ranks
    manifest = store.newest().manifest
    assert universal.loadable(source, manifest, 2) == source
    with pytest.raises(TrainerFailure) as caught:
        universal.loadable(source, manifest, 4)
    assert caught.value.kind is Class.NOT_CONVERTED
    assert "2 ranks" in caught.value.sentence
    assert "4 ranks" in caught.value.sentence
    folder = converted(store, source)
    assert universal.loadable(source, manifest, 4) == folder
    assert store.newest().folder == source


def test_a_damaged_conversion_is_never_loaded(store):
    source = written(store, 50, SHARDS)
    manifest = store.newest().manifest
    folder = converted(store, source)
    (folder / "zero/a/fp32.pt").write_bytes(b"whOle")
    with pytest.raises(TrainerFailure, match="damaged") as caught:
        universal.loadable(source, manifest, 1)
    assert caught.value.kind is Class.CONTINUITY_BROKEN
    (folder / "manifest.json").unlink()
    with pytest.raises(TrainerFailure, match="never finished"):
        universal.loadable(source, manifest, 1)


def test_a_conversion_of_another_checkpoint_is_never_loaded(store):
    source = written(store, 50, SHARDS)
    converted(store, source)
    again = written(store, 50, SHARDS | {"more.pt": b"x"})
    with pytest.raises(TornCheckpoint, match="another checkpoint"):
        universal.verified(again, store.newest().manifest)


def test_ranks_that_hold_everything_load_at_any_size(store):
    source = written(store, 50)
    assert universal.loadable(source, store.newest().manifest, 7) == source


def test_a_conversion_goes_with_its_checkpoints_successor(store):
    folder = converted(store, written(store, 50, SHARDS))
    store.prune(3)
    assert folder.exists()
    written(store, 60, SHARDS)
    store.prune(3)
    assert not folder.exists()
    assert len(store.folders()) == 2


def test_the_gate_counts_samples_too(store):
    written(store, 50)
    manifest = store.newest().manifest  # 400 samples
    seen = continuity.verify(manifest, SAVED, SAVED, 8, "FP32")
    assert (seen.step, seen.before, seen.tensors, seen.delta) == (50, 2, 4, 0.0)
    with pytest.raises(TrainerFailure, match="400 samples are not 50 steps of 16") as caught:
        continuity.verify(manifest, SAVED, SAVED, 16, "FP32")
    assert caught.value.kind is Class.CONTINUITY_BROKEN
