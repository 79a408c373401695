"""However a job is resized, stopped and killed, each sample is in its result exactly once.

The real path of data: tokens on disk, their order, the batches of every rank, checkpoints with
manifests. Only the weights are left out.

Holds: preamar_train/pace/samples.py, preamar_train/start/batches.py
"""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from preamar_train.checkpoint import manifest as manifests
from preamar_train.checkpoint.manifest import Manifest
from preamar_train.checkpoint.store import Store
from preamar_train.data.corpus import opened
from preamar_train.pace.samples import SampleLedger
from preamar_train.parallel.layout import Layout
from preamar_train.request import parse
from preamar_train.start.batches import Batches

from tests.hunting import examples
from tests.workloads.deepspeed.corpora import written
from tests.workloads.deepspeed.orders import order

BATCH, STEPS, EVERY, SEQUENCE = 12, 16, 4, 8
SIZES = (1, 2, 3, 4, 6)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    written(folder, {"large": (3000, 100), "small": (300, 100)})
    return opened(folder, SEQUENCE)


def request(size: int, micro: int):
    return parse(
        json.dumps(
            order(
                batch={"global": BATCH, "micro": micro, "accumulation": BATCH // micro // size},
                data__sources=[
                    {"name": "large", "path": "/x", "weight": "0.75"},
                    {"name": "small", "path": "/y", "weight": "0.25"},
                ],
                steps=STEPS,
            )
        ),
        size,
    )


def save(store: Store, step: int, size: int, ledger: SampleLedger) -> None:
    folder = store.path / store.saving(step)
    folder.mkdir()
    (folder / "zero_pp_rank_0_mp_rank_00_optim_states.pt").write_bytes(b"shard")
    files = manifests.sums(folder, manifests.names_in(folder), to_disk=True)
    words = {"zero_stage": 1, "attempt": 1, "uid": "u", "config": "c", "data": "d", "at": ""}
    manifests.write(
        folder, Manifest(step=step, world_size=size, files=files, **words, **ledger.words())
    )
    store.publish(step)
    store.prune(2)


def attempt(number, path, corpus, size, micro, ends_after, stopped, history):
    """Trains from the newest checkpoint; what it took in each step goes into the history."""
    store = Store(path, "u", number)
    store.claim()
    found = store.newest().manifest
    step, ledger = 0, SampleLedger(BATCH)
    if found is not None:
        step, ledger = (
            found.step,
            SampleLedger(BATCH, found.consumed, found.skipped, found.duplicated),
        )
        assert ledger.consumed == step * BATCH
    for late in [each for each in history if each >= step]:
        del history[late]  # what these steps had changed is thrown away
    asked = request(size, micro)
    ranks = [Batches(asked, corpus, Layout(rank, size)) for rank in range(size)]
    try:
        for _ in range(ends_after):
            if step == STEPS:
                return ledger
            history[step] = {}
            marks = sum(one_rank(each, step, ledger, history[step]) for each in ranks)
            ledger.book(marks)
            step += 1
            if step % EVERY == 0 or step == STEPS:
                save(store, step, size, ledger)
        if stopped and step < STEPS and step % EVERY:
            save(store, step, size, ledger)
    finally:
        for each in ranks:
            each.close()
    return ledger


def one_rank(batches, step, ledger, rows):
    """Its marks; the tokens of its samples go into the rows of the step."""
    parts = list(batches.of_step(step))
    for samples, part in zip(batches.taken, parts, strict=True):
        for sample, row in zip(samples, part, strict=True):
            rows.setdefault(sample, []).append(row.tobytes())
    return ledger.marks(step, batches.taken)


attempts = st.lists(
    st.tuples(
        st.sampled_from(
            [(size, micro) for size in SIZES for micro in (1, 2) if 12 % (size * micro) == 0]
        ),
        st.integers(0, 9),
        st.booleans(),
    ),
    max_size=7,
)


@examples(10, 400)
@given(runs=attempts)
def test_any_sequence_of_resizes_and_kills_takes_each_sample_once(corpus, runs):
    straight: dict = {}
    with tempfile.TemporaryDirectory() as folder:
        attempt(1, Path(folder, "run"), corpus, 1, 1, STEPS, False, straight)
    history: dict = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, ((size, micro), ends_after, stopped) in enumerate(
            [*runs, ((2, 1), STEPS, True)], 1
        ):
            ledger = attempt(
                number, Path(folder, "run"), corpus, size, micro, ends_after, stopped, history
            )
    assert ledger.words() == {"consumed": STEPS * BATCH, "skipped": 0, "duplicated": 0}
    taken = [sample for step in sorted(history) for sample in sorted(history[step])]
    assert taken == list(range(STEPS * BATCH))
    assert history == straight  # the same tokens, too


def test_the_ledger_tells_what_was_left_out_and_what_came_twice():
    ledger = SampleLedger(4)
    ledger.book(ledger.marks(0, [range(2), range(2, 4)]))
    assert ledger.words() == {"consumed": 4, "skipped": 0, "duplicated": 0}
    ledger.book(ledger.marks(1, [range(4, 6), range(5, 7)]))
    assert ledger.words() == {"consumed": 7, "skipped": 1, "duplicated": 1}
    ledger.book(ledger.marks(2, [range(4), range(8, 12)]))  # those of a step long done
    assert ledger.words() == {"consumed": 11, "skipped": 1, "duplicated": 5}
