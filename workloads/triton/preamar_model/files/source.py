"""Which files make up the user's model, how large are they, and are they the ones promised?

Links may point anywhere within the mounted claim and nowhere else. The digest of a file is its
SHA-256; of a directory, the SHA-256 of what this prints, so that anyone can make it:
`find . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum`.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from preamar_model.refusal import Refusal, RefusalReason, invalid

MOUNT = Path("/mnt/model")
MOST_FILES = 10_000


@dataclass(frozen=True, slots=True)
class Source:
    path: Path
    files: tuple[str, ...]
    """Relative to `path`; for a single file, its name alone."""

    @property
    def is_file(self) -> bool:
        return self.path.is_file()

    @property
    def root(self) -> Path:
        return self.path.parent if self.is_file else self.path

    def has(self, name: str) -> bool:
        return name in self.files

    def at(self, name: str) -> Path:
        return self.root / name

    def copy(self, name: str, to: Path) -> None:
        """One of the files, and the folders above it."""
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.at(name), to)

    def bytes(self) -> int:
        return sum(self.at(name).stat().st_size for name in self.files)

    def digest(self) -> str:
        if self.is_file:
            return "sha256:" + _sha256(self.path)
        listing = hashlib.sha256()
        for name in sorted(self.files, key=os.fsencode):
            listing.update(f"{_sha256(self.at(name))}  ".encode() + os.fsencode(name) + b"\n")
        return "sha256:" + listing.hexdigest()


def find(text: str) -> Source:
    """Raises `Refusal` when there is no such model or it reaches outside the claim."""
    path = Path(os.path.normpath(text))
    if not path.exists():
        raise Refusal(
            RefusalReason.MODEL_NOT_FOUND, f"There is no file or directory at {_said(path)}."
        )
    fence = MOUNT if path.is_relative_to(MOUNT) else path.parent
    source = Source(path, (path.name,) if path.is_file() else tuple(sorted(_walk(path))))
    if not source.files:
        raise Refusal(RefusalReason.MODEL_NOT_FOUND, f"The directory at {_said(path)} is empty.")
    for name in source.files:
        if not Path(os.path.realpath(source.at(name))).is_relative_to(os.path.realpath(fence)):
            raise invalid(f"The link {name} points outside the model's volume.")
        if not os.access(source.at(name), os.R_OK):
            raise invalid(f"The file {name} cannot be read by user {os.getuid()}.")
    return source


def check_digest(source: Source, promised: str | None) -> str:
    """The digest found, after holding it against the one promised."""
    found = source.digest()
    if promised is not None and promised.lower() != found:
        raise Refusal(
            RefusalReason.DIGEST_MISMATCH,
            f"The model's digest is {found}, but spec.model.digest says {promised}.",
        )
    return found


def _walk(path: Path) -> Iterator[str]:
    count = 0
    for folder, folders, names in os.walk(path):
        # A volume's own housekeeping is no part of a model.
        folders[:] = sorted(f for f in folders if f not in {"lost+found", ".git", ".cache"})
        for name in names:
            file = Path(folder, name)
            if not file.is_file():
                raise invalid(f"{file.relative_to(path)} is not a readable file (a broken link?).")
            count += 1
            if count > MOST_FILES:
                raise invalid(
                    f"The directory holds more than {MOST_FILES} files; point at the model itself."
                )
            yield str(file.relative_to(path))


def _said(path: Path) -> str:
    """The path in the owner's words: within the claim, not within the pod."""
    return f"/{path.relative_to(MOUNT)} in the claim" if path.is_relative_to(MOUNT) else str(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
