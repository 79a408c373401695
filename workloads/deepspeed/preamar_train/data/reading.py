"""Reads any tokens of a corpus, and nothing that is not what was written.

A block of 256 KiB is checked against its hash before the first token of it is used: on a file
system once, then the kernel's cache serves what is read again; from an object store each time it
is fetched, and the last blocks are kept in memory. Both are bounded, whatever the corpus holds.
"""

import hashlib
import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Protocol

import numpy as np

from preamar_train.data.documents import no_data, unreadable
from preamar_train.data.index import KINDS
from preamar_train.data.shards import BLOCK_BYTES, SHARD_BYTES, SUM_BYTES, Shard

OPEN_FILES = 64
KEPT_BYTES = 64 * 2**20


class ShardStore(Protocol):
    """Where the files of a corpus are. `cached` says that reading again costs next to nothing."""

    cached: bool

    def read(self, file: str, first: int, count: int) -> bytes:
        """So many bytes from there, or fewer where the file ends; DataError if it is missing."""

    def whole(self, file: str, most: int) -> bytes:
        """All of a small file; DataError if it is missing or larger."""


class Folder:
    """A place on a file system: a volume, a node's own disk."""

    cached = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open: OrderedDict[str, int] = OrderedDict()

    def read(self, file: str, first: int, count: int) -> bytes:
        try:
            return os.pread(self._descriptor(file), count, first)
        except OSError as error:
            raise unreadable(str(self.path / file), error) from error

    def whole(self, file: str, most: int) -> bytes:
        try:
            with (self.path / file).open("rb") as stream:
                data = stream.read(most + 1)
        except OSError as error:
            raise unreadable(str(self.path / file), error) from error
        if len(data) > most:
            raise no_data(f"{self.path / file} is larger than {most:,} bytes.")
        return data

    def _descriptor(self, file: str) -> int:
        if file not in self._open:
            while len(self._open) >= OPEN_FILES:
                os.close(self._open.popitem(last=False)[1])
            self._open[file] = os.open(self.path / file, os.O_RDONLY | os.O_CLOEXEC)
        self._open.move_to_end(file)
        return self._open[file]


class Blocks:
    """The blocks of all shards of one corpus, checked. Threads take turns."""

    def __init__(self, place: ShardStore) -> None:
        self._place = place
        self._lock = threading.Lock()
        self._sums: dict[str, bytes] = {}
        self._sound: dict[str, bytearray] = {}  # by shard, 1 for each block that was checked
        self._kept: OrderedDict[tuple[str, int], bytes] = OrderedDict()

    def read(self, shard: Shard, first: int, last: int) -> bytes:
        """The bytes from `first` up to `last` of a shard."""
        with self._lock:
            pieces = []
            for number in range(first // BLOCK_BYTES, -(-last // BLOCK_BYTES)):
                start = number * BLOCK_BYTES
                low, high = max(first - start, 0), min(last - start, BLOCK_BYTES)
                pieces.append(self._part(shard, number, low, high))
            return b"".join(pieces)

    def _part(self, shard: Shard, number: int, low: int, high: int) -> bytes:
        sound = self._sound.setdefault(shard.file, bytearray(shard.blocks))
        if sound[number] and self._place.cached:
            data = self._place.read(shard.file, number * BLOCK_BYTES + low, high - low)
            if len(data) == high - low:
                return data
        block = self._kept.get((shard.file, number))
        if block is None:
            block = self._checked(shard, number)
            sound[number] = 1
            if not self._place.cached:
                self._keep((shard.file, number), block)
        return block[low:high]

    def _keep(self, key: tuple[str, int], block: bytes) -> None:
        self._kept[key] = block
        while len(self._kept) * BLOCK_BYTES > KEPT_BYTES:
            self._kept.popitem(last=False)

    def _checked(self, shard: Shard, number: int) -> bytes:
        first = number * BLOCK_BYTES
        count = min(BLOCK_BYTES, shard.bytes - first)
        block = self._place.read(shard.file, first, count)
        if len(block) != count:
            raise no_data(
                f"{shard.file} has fewer than its {shard.bytes:,} bytes: it is torn. "
                "Prepare the corpus again, or restore the file."
            )
        expected = self._sums_of(shard)[number * SUM_BYTES : (number + 1) * SUM_BYTES]
        if hashlib.sha256(block).digest() != expected:
            raise no_data(
                f"Block {number} of {shard.file} does not match its hash: the data is damaged. "
                "Prepare the corpus again, or restore the file."
            )
        return block

    def _sums_of(self, shard: Shard) -> bytes:
        if shard.file not in self._sums:
            data = self._place.whole(shard.sums_file, SHARD_BYTES // BLOCK_BYTES * SUM_BYTES)
            if hashlib.sha256(data).hexdigest() != shard.sums or len(data) != (
                shard.blocks * SUM_BYTES
            ):
                raise no_data(
                    f"{shard.sums_file} does not match the corpus: the data is damaged. "
                    "Prepare the corpus again, or restore the file."
                )
            self._sums[shard.file] = data
        return self._sums[shard.file]


class TokenStream:
    """One stream as a line of numbers: `len`, and slices of it without a step."""

    def __init__(self, blocks: Blocks, shards: tuple[Shard, ...], kind: str) -> None:
        self._blocks, self._shards = blocks, shards
        self._kind = np.dtype(KINDS[kind])
        self._bytes = sum(shard.bytes for shard in shards)
        # Samples are found by counting, so all shards but the last must be full.
        short = [s.file for s in shards[:-1] if s.bytes != SHARD_BYTES]
        if short or self._bytes % self._kind.itemsize:
            raise no_data(f"{(short or [shards[-1].file])[0]} has an impossible number of bytes.")

    def __len__(self) -> int:
        return self._bytes // self._kind.itemsize

    def __getitem__(self, part: slice) -> np.ndarray:
        first, last, _ = part.indices(len(self))
        position, end = first * self._kind.itemsize, last * self._kind.itemsize
        pieces = []
        while position < end:
            number, inside = divmod(position, SHARD_BYTES)
            count = min(end - position, SHARD_BYTES - inside)
            pieces.append(self._blocks.read(self._shards[number], inside, inside + count))
            position += count
        return np.frombuffer(b"".join(pieces), dtype=self._kind)
