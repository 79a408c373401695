"""Where do a pod's tokens come from, and where do they lie?

Prepared in advance: read from their volume, or from a disk of the node that they are staged on.
Else the text is brought from object stores where it is there, and packed by each pod at the first
attempt; those after it find the tokens beside the checkpoints.
"""

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from preamar_train.data import index as indexes
from preamar_train.data import packed, tokens
from preamar_train.data.corpus import Corpus, opened, pack
from preamar_train.data.documents import no_data
from preamar_train.data.reading import Folder
from preamar_train.data.staging import stage
from preamar_train.models.presets import ModelShape
from preamar_train.ranks.once_per_pod import once_a_pod
from preamar_train.request import DataSource, TrainRequest

if TYPE_CHECKING:
    from preamar_train.ranks.gang import RankGroup


def scratch(request: TrainRequest) -> Path:
    """Where this pod may write data: a disk of its node if one was asked for."""
    return Path(request.scratch or os.environ.get("PREAMAR_SCRATCH", "/tmp/preamar"))


def texts(
    request: TrainRequest, gang: "RankGroup", alive: Callable[[], None]
) -> tuple[DataSource, ...]:
    """The sources as files of this pod; nothing is brought where the tokens are there already."""
    if request.prepared or not any(source.remote for source in request.sources):
        return request.sources
    from preamar_train.data import local  # with the library for object stores

    once_a_pod(gang, lambda: local.bring(request.sources, scratch(request)), alive)
    return local.placed(request.sources, scratch(request))


def tokenizer_of(
    request: TrainRequest, sources: tuple[DataSource, ...], shape: ModelShape, stored: str | None
) -> str:
    """The JSON of the tokenizer: that of the checkpoint, of the prepared data, or a new one."""
    if not request.prepared:
        return tokens.learn(sources, shape.vocabulary) if stored is None else stored
    place = Folder(Path(request.prepared))
    index = indexes.decode(place.whole(indexes.FILE, indexes.LARGEST), indexes.FILE)
    text = place.whole(indexes.TOKENIZER, indexes.LARGEST)
    if hashlib.sha256(text).hexdigest() != index.tokenizer:
        raise no_data("The tokenizer of the prepared data is damaged. Prepare it again.")
    ours = {each.name for each in request.sources}
    if index.vocabulary != shape.vocabulary or {each.name for each in index.sources} != ours:
        raise no_data(
            "The prepared data is of another vocabulary or of other sources. Prepare it again."
        )
    if stored is not None and stored.encode() != text:
        raise no_data(
            "The prepared data was cut into other tokens than those of the checkpoint. Put it back, "
            "or train with a new checkpoint path."
        )
    return text.decode()


def corpus_of(
    request: TrainRequest,
    sources: tuple[DataSource, ...],
    shape: ModelShape,
    gang: "RankGroup",
    text: str,
    alive: Callable[[], None],
) -> Corpus:
    """The corpus, readable in this rank. Of each pod, the first rank packs or stages it."""
    if request.prepared and not request.scratch:
        return opened(Path(request.prepared), shape.sequence)
    folder = scratch(request) / "corpus"

    def act() -> None:
        begun = time.monotonic()
        if request.prepared:
            count = stage(lambda: Folder(Path(request.prepared)), folder)
            print(f"staged {count:,} bytes in {time.monotonic() - begun:.1f} s", flush=True)
            return
        kept = Path(request.checkpoint.path) / packed.FOLDER
        key = packed.key_of(sources, text, shape.vocabulary)
        if packed.restored(kept, key, folder):
            print(f"found the text packed in {time.monotonic() - begun:.1f} s", flush=True)
            return
        pack(sources, tokens.load(text, shape.vocabulary), shape.vocabulary, folder)
        print(f"packed the text in {time.monotonic() - begun:.1f} s", flush=True)
        if gang.rank == 0:
            packed.keep(folder, kept, key)

    once_a_pod(gang, act, alive)
    return opened(folder, shape.sequence)
