"""Is a checkpoint whole?

Its manifest lists every file with length and SHA-256; it is written last, after all files are on
the disk, so a folder without one, or whose files differ, was torn and is never loaded.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from preamar_storage.durable import sync

MANIFEST = "manifest.json"
_CHUNK = 4 * 2**20


class TornCheckpoint(Exception):
    """The checkpoint cannot be trusted; the message says why."""


@dataclass(frozen=True, slots=True)
class FileSum:
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    step: int
    consumed: int
    world_size: int
    zero_stage: int
    attempt: int
    uid: str
    config: str  # digest of all that must not change between attempts
    data: str  # digest of the tokens
    at: str
    files: Mapping[str, FileSum]
    tensor: int = 1
    pipeline: int = 1
    expert: int = 1
    skipped: int = 0  # samples up to here that no step took, and those that more than one did
    duplicated: int = 0
    source: str = ""  # of a conversion: the hash of the checkpoint it was made of
    hash: str = ""  # of the manifest itself; not part of it

    @property
    def bytes(self) -> int:
        return sum(each.bytes for each in self.files.values())


def sums(folder: Path, names: Iterable[str], *, to_disk: bool = False) -> dict[str, FileSum]:
    """Length and hash of each file; `to_disk` first makes them durable, then reads them afresh."""
    return {name: _sum(folder / name, to_disk=to_disk) for name in names}


def _sum(file: Path, *, to_disk: bool) -> FileSum:
    digest, length = hashlib.sha256(), 0
    with file.open("rb") as stream:
        if to_disk:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            length += len(chunk)
    return FileSum(length, digest.hexdigest())


def names_in(folder: Path) -> list[str]:
    """All files below the folder except its manifest, sorted."""
    return sorted(
        str(file.relative_to(folder))
        for file in folder.rglob("*")
        if file.is_file() and file.name != MANIFEST
    )


def write(folder: Path, manifest: Manifest) -> Manifest:
    """Makes the manifest durable; returns it with its own hash."""
    words = asdict(manifest)
    del words["hash"]
    data = json.dumps(words, sort_keys=True, indent=1).encode()
    temporary = folder / f".{MANIFEST}"
    with temporary.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(folder / MANIFEST)
    sync(folder)
    return read(folder)


def read(folder: Path) -> Manifest:
    """The manifest as it says, without a look at the files."""
    try:
        data = (folder / MANIFEST).read_bytes()
    except FileNotFoundError:
        raise TornCheckpoint("it has no manifest, so it was never finished") from None
    except OSError as error:
        raise TornCheckpoint(f"its manifest cannot be read: {error.strerror}") from error
    try:
        return _of(json.loads(data), hashlib.sha256(data).hexdigest())
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise TornCheckpoint("its manifest is damaged") from error


def _of(words: dict[str, Any], own_hash: str) -> Manifest:
    files = {name: FileSum(**each) for name, each in words.pop("files").items()}
    return Manifest(**words, files=files, hash=f"sha256:{own_hash}")


def verify(folder: Path) -> Manifest:
    """The manifest, after every file's length and hash were compared with it."""
    manifest = read(folder)
    for name, expected in manifest.files.items():
        file = folder / name
        try:
            if file.stat().st_size != expected.bytes:
                raise TornCheckpoint(
                    f"{name} has {file.stat().st_size} bytes instead of {expected.bytes}"
                )
            if _sum(file, to_disk=False) != expected:
                raise TornCheckpoint(f"{name} is damaged (its hash differs)")
        except FileNotFoundError:
            raise TornCheckpoint(f"{name} is missing") from None
        except OSError as error:
            raise TornCheckpoint(f"{name} cannot be read: {error.strerror}") from error
    return manifest
