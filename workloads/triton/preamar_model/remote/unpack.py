"""What is in an archive, and may it be written to disk?

Only plain files under plain names, so many and so large at most, counted while they are written: what
an archive says of its own sizes is not believed. Links, devices and anything else end it.
"""

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from preamar_model.refusal import Refusal, invalid
from preamar_model.remote.files import MOST_FILES, must_be_plain

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
PIECE = 2**20
MOST_RATIO = 200
"""Weights hardly shrink; what grows more is made to fill a disk."""


BROKEN = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(EOFError, OSError, ValueError, NotImplementedError, RuntimeError),
)


def is_archive(name: str) -> bool:
    """By its name: everything else is a file of the model."""
    return name.lower().endswith(SUFFIXES)


def unpack(archive: Path, name: str, target: Path, most: int) -> None:
    """Writes the files of ``archive`` below ``target``. Raises `Refusal` for one that holds anything
    but plain files, more than ``most`` bytes, or is broken."""
    most = min(most, archive.stat().st_size * MOST_RATIO + PIECE)
    try:
        members = _of_zip(archive) if name.lower().endswith(".zip") else _of_tar(archive)
        left = most
        for count, (inside, stream) in enumerate(members):
            must_be_plain(inside)
            if count >= MOST_FILES:
                raise invalid(f"{name} holds more than {MOST_FILES} files.")
            left -= _write(stream, target / inside, left, name)
    except Refusal:
        raise
    except BROKEN as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault, not the archive's
        raise invalid(f"{name} cannot be unpacked: {error}.") from error


def _write(stream: IO[bytes], file: Path, left: int, name: str) -> int:
    if file.exists():
        raise invalid(f"{name} holds a file twice: {file.name}.")
    file.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with file.open("xb") as out:
        while piece := stream.read(PIECE):
            written += len(piece)
            if written > left:
                raise invalid(f"{name} grows too large when it is unpacked.")
            out.write(piece)
    return written


def _of_tar(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(archive, "r:*") as tar:
        for count, member in enumerate(tar):
            if count > 2 * MOST_FILES:
                raise invalid(f"{archive.name} holds more than {MOST_FILES} files.")
            if member.isdir():
                continue
            if not member.isreg():
                raise invalid(f"{member.name[:200]!r} in the archive is a link or no plain file.")
            stream = tar.extractfile(member)
            if stream is not None:
                yield member.name.removeprefix("./"), stream


def _of_zip(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as packed:
        for member in packed.infolist():
            if member.is_dir():
                continue
            kind = member.external_attr >> 16 & 0o170000
            if kind not in {0, 0o100000}:
                raise invalid(
                    f"{member.filename[:200]!r} in the archive is a link or no plain file."
                )
            with packed.open(member) as stream:
                yield member.filename, stream
