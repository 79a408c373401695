"""What every rank needs before the first step: the tokenizer, the tokens, the checkpoint to load.

Rank 0 decides on tokenizer and checkpoint; the first rank of each pod packs or stages the tokens
for its pod; all ranks compare what they got, since workers that read different text would train on different
data without any error.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preamar_train.checkpoint.manifest import Manifest
from preamar_train.checkpoint.save import TOKENIZER
from preamar_train.checkpoint.store import Store
from preamar_train.data.corpus import Corpus
from preamar_train.data.documents import no_data
from preamar_train.failures import Class, TrainerFailure, classify
from preamar_train.models.presets import ModelShape, describe
from preamar_train.ranks.gang import RankGroup
from preamar_train.request import DataSource, TrainRequest, bad
from preamar_train.start.material import corpus_of, texts, tokenizer_of


@dataclass(frozen=True, slots=True)
class Ready:
    corpus: Corpus
    tokenizer: str
    config: str
    resume: Manifest | None
    folder: Path | None
    skipped: tuple[str, ...]


def config_digest(request: TrainRequest, shape: ModelShape) -> str:
    """All that may not change while a job goes on: the model, the batch and the order of samples."""
    words = {
        "shape": describe(shape),
        "global": request.global_batch,
        "seed": request.shuffle_seed,
        "sources": sorted((each.name, str(each.weight.normalize())) for each in request.sources),
    }
    return "sha256:" + hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()


def prepare(
    request: TrainRequest,
    shape: ModelShape,
    store: Store,
    gang: RankGroup,
    alive: Callable[[], None],
    own: Any = None,
) -> Ready:
    """`alive` is called every few seconds while data is copied: that may take hours. `own` takes
    the place of a corpus where a script reads data of its own."""
    sources = () if own else texts(request, gang, alive)
    begun = gang.tell(
        _told(lambda: _begin(request, sources, shape, store)) if gang.rank == 0 else None
    )
    if isinstance(begun, TrainerFailure):
        raise begun
    manifest, folder, skipped, tokenizer = begun
    config = config_digest(request, shape)
    if manifest:
        _must_fit(manifest, request, gang, config)
    corpus = own or corpus_of(request, sources, shape, gang, tokenizer, alive)
    digests = gang.hear(corpus.digest)
    if len(set(digests)) > 1:
        odd = next(rank for rank, digest in enumerate(digests) if digest != digests[0])
        raise no_data(
            f"Ranks 0 and {odd} read different text: the data volume differs between pods."
        )
    if manifest and manifest.data != corpus.digest:
        raise no_data(
            f"The text has changed since the checkpoint of step {manifest.step}, so no sample could be "
            "counted exactly. Put it back, or train with a new checkpoint path."
        )
    return Ready(corpus, tokenizer, config, manifest, folder, skipped)


def _told(act):
    """The result or the failure, as a value that can be sent to the other ranks."""
    try:
        return act()
    except Exception as error:  # noqa: BLE001 - the others must hear of any
        return classify(error)


def _begin(request: TrainRequest, sources: tuple[DataSource, ...], shape: ModelShape, store: Store):
    store.claim()
    found = store.newest()
    for sentence in found.skipped:
        print(f"checkpoint skipped: {sentence}", flush=True)
    if found.folder is None and found.skipped:  # beginning anew would hide that all is lost
        raise TrainerFailure(
            Class.CHECKPOINT_TORN,
            f"No checkpoint in {request.checkpoint.uri} is whole ({found.skipped[0]}). Put one back, "
            "or use a new checkpoint path to start afresh.",
        )
    store.settle(found, request.checkpoint.keep)
    stored = None if found.folder is None else (found.folder / TOKENIZER).read_text()
    text = tokenizer_of(request, sources, shape, stored) if sources else ""
    return found.manifest, found.folder, found.skipped, text


def _must_fit(manifest: Manifest, request: TrainRequest, gang: RankGroup, config: str) -> None:
    where = f"{request.checkpoint.uri} holds a checkpoint of step {manifest.step}"
    if manifest.config != config:
        raise bad(
            f"{where} of another model, batch, seed or sources; use a new checkpoint path to start afresh."
        )
    if manifest.zero_stage != request.zero_stage:
        raise bad(
            f"{where} of ZeRO stage {manifest.zero_stage}, which cannot go on with stage {request.zero_stage}."
        )
    if manifest.expert > 1 and manifest.world_size != gang.size:
        raise bad(
            f"{where} of {manifest.world_size} ranks that share experts, which cannot go on with "
            f"{gang.size} ranks."
        )
    for kind in ("tensor", "pipeline", "expert"):
        before, now = getattr(manifest, kind), getattr(request, kind)
        if before != now:
            raise bad(
                f"{where} of parallelism.{kind} {before}, which cannot go on with {kind} {now}."
            )
