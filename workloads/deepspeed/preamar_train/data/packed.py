"""Text that was packed once: kept beside the checkpoints, for the attempts after the first.

Its key covers every byte of the text, the tokenizer and the rules by which text is cut: what has
changed is packed anew. Nothing depends on it: where it is missing or damaged, text is packed again.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from preamar_train.data import documents
from preamar_train.data import index as indexes
from preamar_train.data.documents import files_of, unreadable
from preamar_train.data.index import Index
from preamar_train.data.reading import Folder
from preamar_train.data.staging import stage
from preamar_train.failures import TrainerFailure
from preamar_train.request import DataSource

FOLDER, KEY = ".packed", "key"
MOST_BYTES = 256 * 2**20
SPARE = 10
"""Times the tokens' size that must be free: checkpoints come first."""


def key_of(sources: Iterable[DataSource], tokenizer: str, vocabulary: int) -> str:
    """SHA-256 of all that the tokens follow from. Raises ``TrainerFailure`` where text cannot be read or
    there is none."""
    rules = [indexes.FORMAT, documents.PASSAGE_CHARACTERS, documents.HELD_OUT_EVERY]
    digest = hashlib.sha256(json.dumps([rules, vocabulary, tokenizer]).encode())
    for source in sources:
        for file in files_of(source.name, Path(source.path)):
            try:
                with file.open("rb") as stream:
                    text = hashlib.file_digest(stream, "sha256").hexdigest()
            except OSError as error:
                raise unreadable(f"Data source {source.name}: {file}", error) from error
            digest.update(json.dumps([source.name, file.suffix, text]).encode())
    return digest.hexdigest()


def restored(kept: Path, key: str, folder: Path) -> bool:
    """Copies the tokens of that key into ``folder``, each block checked; False where there are none
    that are sound."""
    try:
        if (kept / KEY).read_text() != key:
            return False
        stage(lambda: Folder(kept), folder)
    except FileNotFoundError:
        return False
    except (OSError, ValueError, TrainerFailure) as error:
        print(f"the packed text in {kept} cannot be used: {error}", flush=True)
        return False
    return True


def keep(folder: Path, kept: Path, key: str) -> None:
    """Keeps the tokens in ``folder`` for later, whole or not at all. They may be few only."""
    index = indexes.decode((folder / indexes.FILE).read_bytes(), indexes.FILE)
    size = sum(shard.bytes for shard in index.shards())
    unfinished = kept.with_name(f"{kept.name}.part")
    try:
        if size > MOST_BYTES or size * SPARE > shutil.disk_usage(kept.parent).free:
            return
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        for name in (*_files(index), indexes.TOKENIZER, indexes.FILE):
            shutil.copyfile(folder / name, unfinished / name)
        (unfinished / KEY).write_text(key)
        shutil.rmtree(kept, ignore_errors=True)
        unfinished.rename(kept)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        print(f"the packed text is not kept for later: {error}", flush=True)


def _files(index: Index) -> list[str]:
    return [name for shard in index.shards() for name in (shard.file, shard.sums_file)]
