"""Which models are kept on the cache's volume, and which must go?

    <cache>/<key>/...          a whole model; the key is made of where it lies and of each file's version
    <cache>/.making-<key>/     one that is being fetched, gone on from by whoever comes next
    <cache>/.uris/<hash>       the key that a URI had last

What was used longest ago goes first, where a new one needs the room; never what a pod is reading. Pods
on one volume wait for each other by file locks, which end with their holder.
"""

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from preamar_model.refusal import Refusal, RefusalReason
from preamar_model.remote.files import Remote

LOOK_SECONDS = 1.0
SPARE_BYTES = 64 * 2**20
"""Left free on the volume, for whatever else is written there."""


def key_of(base: str, files: tuple[Remote, ...]) -> str:
    """Equal for equal files of one place, and for nothing else."""
    words = [base, *([f.key, f.size, f.version, f.sha256] for f in files)]
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()[:32]


class NoRoom(Exception):
    """The volume is full of what cannot go."""


@dataclass(frozen=True, slots=True)
class Cache:
    """``most``: bytes that all models in it may have together."""

    root: Path
    most: int

    def whole(self, key: str) -> Path | None:
        """A model that is there, marked as used now."""
        folder = self.root / key
        if not folder.is_dir():
            return None
        with suppress(OSError):
            os.utime(folder)
        return folder

    def making(self, key: str) -> Path:
        """Where a model is put together."""
        return self.root / f".making-{key}"

    def finish(self, key: str, uri: str) -> Path:
        """Gives a model that was put together its name."""
        self.making(key).rename(self.root / key)
        self.remember(uri, key)
        return self.root / key

    def remember(self, uri: str, key: str) -> None:
        """Which model a URI led to, for times at which its place cannot be asked."""
        mark = self._mark(uri)
        mark.parent.mkdir(exist_ok=True)
        aside = mark.with_name(f"{mark.name}.{os.getpid()}")
        aside.write_text(key)
        aside.replace(mark)

    def last(self, uri: str) -> Path | None:
        """The model that a URI led to last, if it is still here."""
        try:
            return self.whole(self._mark(uri).read_text())
        except OSError:
            return None

    def make_room(self, key: str, size: int) -> None:
        """Raises `Refusal` for a model that can never fit, `NoRoom` where others are in use."""
        if size > self.most:
            raise Refusal(
                RefusalReason.MODEL_INVALID,
                f"The model has {size:,} bytes and the cache holds {self.most:,}: whoever runs "
                "Preamar can raise models.cache.gib.",
            )
        have = _bytes(self.making(key))
        others = sorted(self._others(key), key=lambda each: each.stat().st_mtime)
        total = sum(map(_bytes, others))
        for each in others:
            free = shutil.disk_usage(self.root).free
            if total + size <= self.most and size - have + SPARE_BYTES <= free:
                return
            gone = _bytes(each)
            if self._evict(each):
                print(f"made room: {each.name} ({gone:,} bytes) was used longest ago", flush=True)
                total -= gone
        free = shutil.disk_usage(self.root).free
        if total + size > self.most or size - have + SPARE_BYTES > free:
            raise NoRoom(f"{size:,} bytes do not fit beside what is in use ({free:,} are free)")

    @contextmanager
    def alone(self, key: str) -> Iterator[None]:
        """Nobody else fetches this model meanwhile."""
        with _locked(self.root / f".lock-{key}", fcntl.LOCK_EX):
            yield

    @contextmanager
    def reading(self, key: str) -> Iterator[None]:
        """The model does not go meanwhile."""
        with _locked(self.root / f".use-{key}", fcntl.LOCK_SH):
            yield

    def _others(self, key: str) -> Iterator[Path]:
        for each in self.root.iterdir():
            kept = not each.name.startswith(".") or each.name.startswith(".making-")
            if each.is_dir() and kept and each.name not in {key, f".making-{key}", "lost+found"}:
                yield each

    def _evict(self, folder: Path) -> bool:
        key = folder.name.removeprefix(".making-")
        kind = ".lock-" if folder.name.startswith(".") else ".use-"
        with (self.root / f"{kind}{key}").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return False
            # Renamed first: half a model must never have a whole one's name.
            aside = self.root / f".going-{key}"
            shutil.rmtree(aside, ignore_errors=True)
            with suppress(FileNotFoundError):
                folder.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
        return True

    def _mark(self, uri: str) -> Path:
        return self.root / ".uris" / hashlib.sha256(uri.encode()).hexdigest()[:32]


@contextmanager
def _locked(path: Path, kind: int) -> Iterator[None]:
    with path.open("w") as lock:
        told = False
        while True:
            try:
                fcntl.flock(lock, kind | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    print("another pod is at it: waiting", flush=True)
                told = True
                time.sleep(LOOK_SECONDS)
            except OSError:
                break  # a file system without locks: two may fetch, and the last one to finish wins
        yield


def _bytes(folder: Path) -> int:
    found = 0
    for file in folder.rglob("*"):
        with suppress(OSError):
            found += file.stat().st_size if file.is_file() else 0
    return found
