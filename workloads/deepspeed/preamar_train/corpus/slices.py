"""How the text is cut into work: slices of about 8 MiB, the same for any number of workers.

Small files of one source share a slice, a `.jsonl` file is cut at its lines, a `.txt` file is one
document and stays whole. A slice is read alike by whoever gets it, so results fit together.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from preamar_train.data.documents import Passage, documents, files_of
from preamar_train.request import DataSource

SLICE_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True)
class FileSlice:
    """The documents of a file that begin from byte `first` up to `last`."""

    file: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Slice:
    number: int
    source: str
    pieces: tuple[FileSlice, ...]


def slices_of(sources: Iterable[DataSource]) -> tuple[Slice, ...]:
    """All slices, those of a source together and in the order of its text."""
    found: list[Slice] = []
    for source in sources:
        held: list[FileSlice] = []
        size = 0
        for piece in _pieces(source):
            if held and size + piece.last - piece.first > SLICE_BYTES:
                found.append(Slice(len(found), source.name, tuple(held)))
                held, size = [], 0
            held.append(piece)
            size += piece.last - piece.first
        found.append(Slice(len(found), source.name, tuple(held)))
    return tuple(found)


def _pieces(source: DataSource) -> Iterator[FileSlice]:
    for file in files_of(source.name, Path(source.path)):
        size = file.stat().st_size
        step = SLICE_BYTES if file.suffix == ".jsonl" else max(size, 1)
        for first in range(0, max(size, 1), step):
            yield FileSlice(str(file), first, min(first + step, size))


def documents_of(work: Slice) -> Iterator[Iterator[Passage]]:
    """The documents of a slice, each as its passages."""
    for piece in work.pieces:
        yield from documents(work.source, Path(piece.file), piece.first, piece.last)


def fingerprint(work: Slice, root: dict[str, str]) -> str:
    """A hash of the bytes of a slice and of where they are in their source."""
    digest = hashlib.sha256()
    for piece in work.pieces:
        name = str(Path(piece.file).relative_to(root[work.source]))
        digest.update(json.dumps([work.source, name, piece.first, piece.last]).encode())
        with Path(piece.file).open("rb") as stream:
            stream.seek(piece.first)
            left = piece.last - piece.first
            while left and (data := stream.read(min(2**20, left))):
                digest.update(data)
                left -= len(data)
    return digest.hexdigest()
