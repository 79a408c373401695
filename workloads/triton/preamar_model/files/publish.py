"""How does an artefact get to its place whole or not at all? Written aside on the same volume,
made durable, then renamed; `preamar-optimization.json` holds the digest of every file beside it.

A kill leaves a directory whose name begins with a dot, which the next run removes.
"""

import contextlib
import glob
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import onnx
from preamar_storage.durable import sync

from preamar_model.files import onnx_file
from preamar_model.files.source import Source
from preamar_model.files.weights import INDEX

RECORD = "preamar-optimization.json"
BESIDE_BYTES = 1_500_000_000
CARRIED = {".json", ".txt", ".jinja", ".model", ".md"}
"""What is no weight: configurations, tokenizers, chat templates, licences."""


def held(target: Path, key: str) -> dict | None:
    """What is recorded of a whole artefact of this key; None if there is none."""
    try:
        # First, so that another Job which forgets what is old spares it.
        os.utime(target / RECORD)
        record = json.loads((target / RECORD).read_text())
        whole = all(digest(target / name) == told for name, told in record["files"].items())
        found = record["key"] == key and onnx_file.MODEL in record["files"] and whole
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return record if found else None


def begin(target: Path) -> Path:
    """An empty directory aside. What earlier runs left is removed, an artefact out of place is
    put back."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside, old = _aside(target, "optimizing"), _aside(target, "replaced")
    if old.exists() and not target.exists():
        old.rename(target)
    for path in (aside, old, _aside(target, "working")):
        shutil.rmtree(path, ignore_errors=True)
    aside.mkdir()
    return aside


def abandon(target: Path) -> None:
    for word in ("optimizing", "working"):
        shutil.rmtree(_aside(target, word), ignore_errors=True)


def working(target: Path) -> Path:
    """Where intermediate files may go when the pod's own file system is read-only."""
    path = _aside(target, "working")
    path.mkdir(exist_ok=True)
    return path


def write(aside: Path, model: onnx.ModelProto, source: Source) -> int:
    """The graph and what belongs to the model beside it; the graph's bytes."""
    path = aside / onnx_file.MODEL
    beside = model.ByteSize() > BESIDE_BYTES
    onnx.save(model, str(path), save_as_external_data=beside, location=onnx_file.DATA)
    size = sum(file.stat().st_size for file in aside.iterdir())
    for name in () if source.is_file else source.files:
        if Path(name).suffix not in CARRIED or name in {INDEX, RECORD}:
            continue
        source.copy(name, aside / name)
    return size


def finish(aside: Path, target: Path, record: Mapping[str, object]) -> None:
    files = sorted(path for path in aside.rglob("*") if path.is_file())
    digests = {str(path.relative_to(aside)): digest(path) for path in files}
    (aside / RECORD).write_text(json.dumps({**record, "files": digests}, indent=2) + "\n")
    for path in [*aside.rglob("*"), aside]:
        sync(path)
    old = _aside(target, "replaced")
    if target.exists():
        # A directory with files cannot be renamed over. A kill here leaves none, never a half one.
        target.rename(old)
    aside.rename(target)
    sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def moment(target: Path) -> float:
    """What the clock of the volume says: seconds that compare with its files' times."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=target.parent) as file:
        file.write(b"now")
        file.flush()
        return os.fstat(file.fileno()).st_mtime


def forget_others(target: Path, kept: Iterable[str], since: float) -> None:
    """Removes artefacts that the same service had before, those apart that replicas may start from
    yet, and what was made or asked for again after ``since``: then this Job is the one whose wish is
    past. Theirs is the same name with another ending of ten hexadecimal digits."""
    name, _, ending = target.name.rpartition("-")
    if not re.fullmatch(r"[0-9a-f]{10}", ending):
        return
    for other in target.parent.glob(f"{glob.escape(name)}-*"):
        same = re.fullmatch(r"[0-9a-f]{10}", other.name.removeprefix(f"{name}-"))
        if same and other != target and other.name not in set(kept) and _touched(other) < since:
            old = _aside(other, "replaced")
            with contextlib.suppress(OSError):  # at once: a replica finds all of it or nothing
                other.rename(old)
            shutil.rmtree(old, ignore_errors=True)


def _touched(artefact: Path) -> float:
    """When it was last made or asked for; of what is still being made, when that began."""
    records = [*artefact.glob(RECORD), *artefact.glob(f"*/{RECORD}")]
    try:
        return max(path.stat().st_mtime for path in records or [artefact, *artefact.iterdir()])
    except OSError:  # another Job removes it
        return float("inf")


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def _aside(target: Path, word: str) -> Path:
    return target.with_name(f".{target.name}.{word}")
