"""How does a remote file become one on disk, whole or not at all?

It is written beside its name and renamed when its length, and its SHA-256 where the place tells one,
are right. What an earlier try left is gone on from, if the place still has the same version of it; an
answer that ends early is tried again from there.
"""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import obstore
from obstore import exceptions
from preamar_storage.attempts import TornAnswer

from preamar_model.refusal import Refusal, RefusalReason, invalid
from preamar_model.remote.attempts import tried
from preamar_model.remote.files import Remote

PIECE_BYTES = 8 * 2**20


def download(
    uri: str,
    store: Any,
    remote: Remote,
    target: Path,
    refused: Callable[[], str],
    told: Callable[[int], None] = lambda _: None,
) -> None:
    """``target`` is made. ``told`` hears of bytes as they come. Raises `Refusal` where the file
    changed or is not what its place says, `Unreachable` where it does not come."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part, mark = target.with_name(f".{target.name}.part"), target.with_name(f".{target.name}.of")
    version = json.dumps([remote.key, remote.version, remote.size])
    if not (mark.exists() and mark.read_text() == version):
        part.unlink(missing_ok=True)
        mark.write_text(version)
    try:
        tried(f"{uri} ({remote.name})", lambda: _append(store, remote, part, told), refused)
    except exceptions.PreconditionError as error:
        raise _changed(uri, remote) from error
    if remote.sha256 and _sha256(part) != remote.sha256:
        part.unlink()
        raise Refusal(
            RefusalReason.DIGEST_MISMATCH,
            f"{uri}: {remote.name} does not have the SHA-256 that its place says; it was not kept.",
        )
    part.replace(target)
    mark.unlink()


def _append(store: Any, remote: Remote, part: Path, told: Callable[[int], None]) -> None:
    have = part.stat().st_size if part.exists() else 0
    if have > remote.size:
        part.unlink()
        have = 0
    with part.open("ab") as out:
        if have < remote.size:
            options: dict[str, Any] = {"range": {"offset": have}} if have else {}
            if remote.tag:
                options["if_match"] = remote.tag
            answer = obstore.get(store, remote.key, options=options)
            if answer.meta["size"] != remote.size:
                raise invalid(f"{remote.name} changed while it was fetched: try again.")
            for piece in answer.stream(min_chunk_size=PIECE_BYTES):
                have += out.write(piece)
                told(len(piece))
                if have > remote.size:
                    break
        out.flush()
        os.fsync(out.fileno())
    if have != remote.size:
        raise TornAnswer(f"{have:,} of {remote.size:,} bytes came")


def _changed(uri: str, remote: Remote) -> Refusal:
    return invalid(
        f"{uri}: {remote.name} changed while it was fetched; it is tried again as it is now."
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
