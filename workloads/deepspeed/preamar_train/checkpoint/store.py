"""Which checkpoints are there, and which one counts?

    <path>/step-00000050/   a verified checkpoint: manifest.json, tokenizer.json, DeepSpeed's files
    <path>/latest           its name, replaced atomically after the folder is whole
    <path>/step-00000050.universal/   the same for any number of ranks: see `universal`
    <path>/.saving-…        being written; never read
    <path>/.owner           which attempt may write here

A newer attempt's claim stops an older one that still runs somewhere from writing. The last
verified checkpoint is never removed, and a folder is only removed once newer ones verify.
"""

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from preamar_storage.durable import sync

from preamar_train.checkpoint import manifest as manifests
from preamar_train.checkpoint.manifest import Manifest, TornCheckpoint
from preamar_train.failures import FULL, Class, TrainerFailure

_NAME = re.compile(r"step-(\d{8,})")


def name_of(step: int) -> str:
    return f"step-{step:08d}"


def trouble(sentence: str) -> TrainerFailure:
    return TrainerFailure(Class.CHECKPOINT_ERROR, sentence)


@dataclass(frozen=True, slots=True)
class FoundCheckpoint:
    """The newest whole checkpoint, if any, and what was passed over on the way to it."""

    folder: Path | None
    manifest: Manifest | None
    skipped: tuple[str, ...]


class Store:
    def __init__(self, path: Path, uid: str, attempt: int) -> None:
        self.path = path
        self._owner = {"uid": uid, "attempt": attempt}

    def claim(self) -> None:
        """Makes this attempt the one that writes here, and sweeps up what earlier ones left."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            held = self._held()
            if (
                held.get("uid") == self._owner["uid"]
                and held.get("attempt", 0) > self._owner["attempt"]
            ):
                raise trouble(
                    f"{self.path} already belongs to attempt {held['attempt']} of this job."
                )
            self._replace(".owner", json.dumps(self._owner))
            for kind in (".saving-*", ".torn-*", ".converting-*"):
                for left in self.path.glob(kind):
                    shutil.rmtree(left, ignore_errors=True)
        except OSError as error:
            raise unwritable(self.path, error) from error

    def still_mine(self) -> None:
        if self._held() != self._owner:
            raise trouble(f"Another attempt or job has begun to write to {self.path}.")

    def _held(self) -> dict[str, object]:
        try:
            words = json.loads((self.path / ".owner").read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return words if isinstance(words, dict) else {}

    def newest(self) -> FoundCheckpoint:
        """The newest checkpoint whose every file verifies."""
        skipped = []
        for folder in reversed(self.folders()):
            try:
                return FoundCheckpoint(folder, manifests.verify(folder), tuple(skipped))
            except TornCheckpoint as torn:
                skipped.append(f"{folder.name}: {torn}")
        return FoundCheckpoint(None, None, tuple(skipped))

    def folders(self) -> list[Path]:
        """All that look like checkpoints, oldest first."""
        found = [each for each in self.path.glob("step-*") if _NAME.fullmatch(each.name)]
        return sorted(found, key=lambda each: int(each.name.removeprefix("step-")))

    def saving(self, step: int) -> str:
        """The tag under which ranks write until the checkpoint is whole."""
        return f".saving-{name_of(step)}-{self._owner['attempt']}"

    def publish(self, step: int) -> Path:
        """Gives a folder with a manifest its name, then points `latest` at it."""
        self.still_mine()
        source, target = self.path / self.saving(step), self.path / name_of(step)
        if target.exists():  # torn, else this step would not have been trained again
            target.rename(self.path / f".torn-{target.name}-{self._owner['attempt']}")
        source.rename(target)
        sync(self.path)
        self._replace("latest", target.name)
        return target

    def prune(self, keep: int) -> None:
        """Removes all but the newest `keep` whole checkpoints; torn ones older than those go too,
        and so do conversions of all but the newest: an attempt begins with no other."""
        whole, newest = 0, ""
        for folder in reversed(self.folders()):
            if whole >= keep:
                shutil.rmtree(folder, ignore_errors=True)
            elif _seems_whole(folder):
                newest = newest or folder.name
                whole += 1
        for made in self.path.glob("step-*.universal"):
            if made.name != f"{newest}.universal":
                shutil.rmtree(made, ignore_errors=True)
        for torn in self.path.glob(".torn-*"):
            shutil.rmtree(torn, ignore_errors=True)

    def settle(self, found: FoundCheckpoint, keep: int) -> None:
        """Does what an attempt left undone that was killed after its checkpoint was whole."""
        if found.folder is None:
            return
        try:
            told = (self.path / "latest").read_text()
        except FileNotFoundError:
            told = ""
        try:
            if told != found.folder.name:
                self._replace("latest", found.folder.name)
        except OSError as error:
            raise unwritable(self.path, error) from error
        if not found.skipped:  # a damaged one that has its full length would count as whole
            self.prune(keep)

    def _replace(self, name: str, words: str) -> None:
        temporary = self.path / f".{name}.new"
        with temporary.open("w") as stream:
            stream.write(words)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(self.path / name)
        sync(self.path)


def _seems_whole(folder: Path) -> bool:
    """Whether all files are there in full length; hashes were compared when it was published."""
    try:
        found = manifests.read(folder)
        return all((folder / n).stat().st_size == s.bytes for n, s in found.files.items())
    except (TornCheckpoint, OSError):
        return False


def unwritable(path: Path, error: OSError) -> TrainerFailure:
    reason = error.strerror or str(error)
    if error.errno in FULL:
        return TrainerFailure(
            Class.DISK_FULL,
            f"The checkpoint volume is full ({path}): {reason}. Make it larger, or lower checkpoint.keep.",
        )
    return trouble(f"The checkpoint volume cannot be written ({path}): {reason}.")
