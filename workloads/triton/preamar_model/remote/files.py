"""What is known of a remote file before it is fetched, and which names may be written to disk?"""

import re
from dataclasses import dataclass

from preamar_model.refusal import invalid

MOST_FILES = 10_000
PLAIN = re.compile(r"[^/\x00-\x1f\x7f\\]{1,255}")


@dataclass(frozen=True, slots=True)
class Remote:
    """One file: its key at the place, its name in the model, its size in bytes, what tells its
    version (``tag``: a strong ETag), and its SHA-256 where the place says it."""

    key: str
    name: str
    size: int
    version: str
    tag: str | None = None
    sha256: str | None = None


def must_be_plain(name: str) -> None:
    """Raises `Refusal` for a name that could leave the folder it is written to."""
    steps = name.split("/")
    if len(name) > 1024 or any(not PLAIN.fullmatch(s) or s in {".", ".."} for s in steps):
        raise invalid(f"The name {name[:200]!r} is not one that a model's file may have.")


def not_too_many(uri: str, count: int) -> None:
    if count > MOST_FILES:
        raise invalid(f"{uri} holds more than {MOST_FILES} files: point at the model itself.")
