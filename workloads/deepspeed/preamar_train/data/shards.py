"""How tokens lie on a disk: a stream of them, cut into shards, every block of them with its hash.

A shard is 64 MiB of the stream (the last is shorter), little-endian whole numbers and nothing
else. Beside `<shard>.tokens` lies `<shard>.sums`: the SHA-256 of each block of 256 KiB, one after
the other. So a sample can be read from anywhere without reading its shard, and what is read is
known to be what was written. The cut is fixed, because it goes into the digest of the corpus.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

BLOCK_BYTES = 256 * 2**10
SHARD_BYTES = 64 * 2**20
SUM_BYTES = 32


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of tokens. `sums` is the SHA-256 of its file of sums, in hexadecimal."""

    file: str
    bytes: int
    sums: str

    @property
    def sums_file(self) -> str:
        return self.file.removesuffix(".tokens") + ".sums"

    @property
    def blocks(self) -> int:
        return -(-self.bytes // BLOCK_BYTES)


def name_of(source: str, part: str, number: int) -> str:
    return f"{source}.{part}.{number:05}.tokens"


class ShardWriter:
    """Writes one shard; both files are on the disk when `close` has returned, if `durable`."""

    def __init__(self, folder: Path, file: str, *, durable: bool) -> None:
        self._folder, self._file, self._durable = folder, file, durable
        self._out = (folder / file).open("wb")
        self._block = bytearray()
        self._sums = bytearray()
        self.bytes = 0

    def write(self, data: bytes | memoryview) -> None:
        self.bytes += len(data)
        self._block += data
        while len(self._block) >= BLOCK_BYTES:
            self._flush(BLOCK_BYTES)

    def _flush(self, count: int) -> None:
        block = bytes(self._block[:count])
        self._sums += hashlib.sha256(block).digest()
        self._out.write(block)
        del self._block[:count]

    def close(self) -> Shard:
        if self._block:
            self._flush(len(self._block))
        _end(self._out, durable=self._durable)
        shard = Shard(self._file, self.bytes, hashlib.sha256(self._sums).hexdigest())
        with (self._folder / shard.sums_file).open("wb") as out:
            out.write(self._sums)
            _end(out, durable=self._durable)
        return shard


class StreamWriter:
    """Writes the tokens of one part of a source, shard after shard."""

    def __init__(self, folder: Path, source: str, part: str) -> None:
        self._folder, self._source, self._part = folder, source, part
        self._open: ShardWriter | None = None
        self._shards: list[Shard] = []
        self.bytes = 0

    def write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            if self._open is None:
                file = name_of(self._source, self._part, len(self._shards))
                self._open = ShardWriter(self._folder, file, durable=False)
            piece = left[: SHARD_BYTES - self._open.bytes]
            self._open.write(piece)
            self.bytes += len(piece)
            left = left[len(piece) :]
            if self._open.bytes == SHARD_BYTES:
                self._next()

    def _next(self) -> None:
        if self._open is not None:
            self._shards.append(self._open.close())
            self._open = None

    def close(self) -> tuple[Shard, ...]:
        self._next()
        return tuple(self._shards)


def _end(out, *, durable: bool) -> None:
    out.flush()
    if durable:
        os.fsync(out.fileno())
    out.close()
