"""Where rows are durable before anything else is done with them: a file that is written from its start.

A batch of rows is one write and one sync; a transaction of the database, with its pages and indices,
costs ten times as much and is done for many batches together. When those are in the database, writing
begins again at the start, under another number. A batch that was torn, or is left from before, does not
have the number and the checksum that it should have: there the journal ends.
"""

import errno
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from zlib import crc32

import orjson

from preamar.ledger.tables.prices import PriceList
from preamar.ledger.tables.usage_record import UsageRecord

SIZE = 1 << 20
"""Bytes, which are there before they are used: a sync then has no new size of the file to write."""
_HEAD = struct.Struct("<QII")
"""The journal's number, the length of the batch, and the checksum of both with the batch."""


class Journal:
    """One writer's. Raises ``OSError`` where the disk does not take what it is given; then nothing of
    that is in it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _written(os.pwrite(self._file, bytes(SIZE), 0), SIZE)
            os.fsync(self._file)
            _sync_folder(path.parent)
        except OSError:
            os.close(self._file)
            path.unlink(missing_ok=True)
            raise
        self._end = 0
        self._number = int.from_bytes(os.urandom(8), "little")

    @property
    def full(self) -> bool:
        """Whether what is in it should go to the database now. More can still be added."""
        return self._end >= SIZE // 2

    def append(self, rows: Sequence[UsageRecord]) -> None:
        """Add a batch, which is durable when this returns."""
        batch = orjson.dumps([_values(row) for row in rows])
        head = _head(self._number, batch)
        size = len(head) + len(batch)
        _written(os.pwritev(self._file, [head, batch], self._end), size)
        os.fdatasync(self._file)
        self._end += size

    def begin_anew(self) -> None:
        """All that is in it is durable elsewhere."""
        if self._end > SIZE:
            os.ftruncate(self._file, SIZE)
        self._number = int.from_bytes(os.urandom(8), "little")
        self._end = 0

    def remove(self) -> None:
        """It is empty, and will not be used again."""
        self._path.unlink(missing_ok=True)
        os.close(self._file)


def read(path: Path) -> list[UsageRecord]:
    """The rows of a journal whose writer is gone; none where there is no file."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    rows: list[UsageRecord] = []
    at, first = 0, None
    while at + _HEAD.size <= len(data):
        number, length, _ = _HEAD.unpack_from(data, at)
        batch = data[at + _HEAD.size : at + _HEAD.size + length]
        if not length or data[at : at + _HEAD.size] != _head(number, batch):
            break
        if number != (first := number if first is None else first):
            break
        rows += [_row(values) for values in orjson.loads(batch)]
        at += _HEAD.size + length
    return rows


def _written(size: int, wanted: int) -> None:
    """A disk that fills up takes a part of a write, which is no error to the kernel."""
    if size != wanted:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _head(number: int, batch: bytes) -> bytes:
    told = struct.pack("<QI", number, len(batch))
    return told + struct.pack("<I", crc32(batch, crc32(told)))


def _values(row: UsageRecord) -> dict[str, object]:
    price = row.price
    return row.values() | {
        "price": (
            price.currency,
            price.million_input_tokens,
            price.million_output_tokens,
            price.request,
            price.accelerator_second,
        )
    }


def _row(values: dict[str, object]) -> UsageRecord:
    price: tuple[str, int, int, int, int] = values["price"]  # type: ignore[assignment]
    return UsageRecord.of(SimpleNamespace(**values), PriceList(*price))


def _sync_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
