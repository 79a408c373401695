"""Copies a prepared corpus onto a disk of the node, checked block by block.

Shards that are there already, of this very corpus, stay. The list of shards is written last, so a
copy that was broken off is never taken for a whole one.
"""

import hashlib
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from preamar_train.data import index as indexes
from preamar_train.data.documents import no_data
from preamar_train.data.index import Index
from preamar_train.data.reading import Blocks, ShardStore
from preamar_train.data.shards import BLOCK_BYTES, Shard, ShardWriter

AT_ONCE = 4
SPARE_BYTES = 64 * 2**20


def stage(place: Callable[[], ShardStore], folder: Path) -> int:
    """Copies the corpus that `place()` holds; how many bytes had to be copied.

    DataError where the corpus is damaged or does not fit. Each thread has a place of its own.
    """
    text = place().whole(indexes.FILE, indexes.LARGEST)
    index = indexes.decode(text, indexes.FILE)
    folder.mkdir(parents=True, exist_ok=True)
    if _is(folder, index):
        return 0
    (folder / indexes.FILE).unlink(missing_ok=True)
    missing = [each for each in index.shards() if not _is_there(folder, each)]
    _must_fit(folder, sum(each.bytes for each in missing))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(lambda shard: _copy(place(), shard, folder), missing):
            pass
    (folder / indexes.TOKENIZER).write_bytes(place().whole(indexes.TOKENIZER, indexes.LARGEST))
    unfinished = folder / f".{indexes.FILE}.part"
    unfinished.write_bytes(text)
    unfinished.replace(folder / indexes.FILE)
    return sum(each.bytes for each in missing)


def _is(folder: Path, index: Index) -> bool:
    file = folder / indexes.FILE
    return file.exists() and indexes.decode(file.read_bytes(), str(file)).digest == index.digest


def _is_there(folder: Path, shard: Shard) -> bool:
    """Whether this very shard was copied as a whole: its sums are written after its tokens."""

    sums, file = folder / shard.sums_file, folder / shard.file
    return (
        sums.exists()
        and file.exists()
        and file.stat().st_size == shard.bytes
        and hashlib.sha256(sums.read_bytes()).hexdigest() == shard.sums
    )


def _copy(place: ShardStore, shard: Shard, folder: Path) -> None:
    blocks = Blocks(place)
    (folder / shard.sums_file).unlink(missing_ok=True)
    out = ShardWriter(folder, shard.file, durable=False)
    for first in range(0, shard.bytes, BLOCK_BYTES):
        out.write(blocks.read(shard, first, min(first + BLOCK_BYTES, shard.bytes)))
    if out.close() != shard:
        raise no_data(f"{shard.file} could not be copied soundly.")


def _must_fit(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed + SPARE_BYTES > free:
        raise no_data(
            f"The data to stage has {needed:,} bytes more than what is staged, and the node-local volume "
            f"has {free:,} free. Ask for a larger one (data.stageSize), or set data.stage to None."
        )
