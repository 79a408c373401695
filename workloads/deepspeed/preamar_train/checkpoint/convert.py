"""Turns the newest checkpoint into one that any number of ranks can load.

One process on a CPU, no torch.distributed: accelerators are free meanwhile. DeepSpeed merges the
shards tensor by tensor under a name that nothing reads; every merged tensor must have the hash
that the ranks took of it when they saved; then files, manifest and folder are made durable and
the folder gets its name. Whatever fails leaves the checkpoint as it was, and can be tried again.
"""

import argparse
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from preamar_storage.durable import sync

from preamar_train.checkpoint import manifest as manifests
from preamar_train.checkpoint import proof as proofs
from preamar_train.checkpoint.manifest import Manifest, TornCheckpoint
from preamar_train.checkpoint.proof import Broken, digest
from preamar_train.checkpoint.store import Store, trouble, unwritable
from preamar_train.checkpoint.universal import sharded, universal_of, verified
from preamar_train.failures import Class, TrainerFailure

SERIAL_BYTES = 2**30
"""Below this, starting processes costs more than they save."""


def convert(store: Store) -> Manifest:
    """The manifest of the newest whole checkpoint, which every size can load now."""
    store.claim()
    found = store.newest()
    for sentence in found.skipped:
        print(f"checkpoint skipped: {sentence}", flush=True)
    if found.folder is None or found.manifest is None:
        raise trouble(f"{store.path} holds no whole checkpoint that could be converted.")
    if not sharded(found.manifest):
        print(f"{found.folder.name} loads at any size as it is", flush=True)
        return found.manifest
    try:
        verified(found.folder, found.manifest)
        print(f"{universal_of(found.folder).name} is there and whole", flush=True)
    except TornCheckpoint:
        try:
            _make(store, found.folder, found.manifest)
        except OSError as error:
            raise unwritable(store.path, error) from error
    return found.manifest


def _make(store: Store, folder: Path, source: Manifest) -> None:
    target = universal_of(folder)
    shutil.rmtree(target, ignore_errors=True)
    room = store.path / f".converting-{folder.name}-{os.uname().nodename}-{os.getpid()}"
    shutil.rmtree(room, ignore_errors=True)
    try:
        made = room / target.name
        _merge(folder, made, source.bytes)
        _compare(folder, made)
        names = manifests.names_in(made)
        words = {name: getattr(source, name) for name in source.__dataclass_fields__}
        files = manifests.sums(made, names, to_disk=True)
        for inside in {made, *(file.parent for file in map(made.joinpath, names))}:
            sync(inside)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        manifests.write(
            made, Manifest(**words | {"files": files, "source": source.hash, "at": now})
        )
        store.still_mine()
        made.rename(target)
        sync(store.path)
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _merge(folder: Path, made: Path, size: int) -> None:
    from deepspeed.checkpoint import ds_to_universal

    workers = 1 if size < SERIAL_BYTES else len(os.sched_getaffinity(0))
    words = argparse.Namespace(
        input_folder=str(folder),
        output_folder=str(made),
        num_extract_workers=workers,
        num_merge_workers=workers,
        keep_temp_folder=False,
        strict=True,
        # What DeepSpeed asks a client for describes tensor parallelism; without it there is none.
        inject_missing_state=True,
    )
    try:
        ds_to_universal.main(words)
    except OSError:
        raise
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:400]
        raise TrainerFailure(
            Class.NOT_CONVERTED, f"DeepSpeed cannot convert {folder.name}: {first}"
        ) from error


def _compare(folder: Path, made: Path) -> None:
    """Every merged tensor against the hash that was taken of it at the save."""
    try:
        for name, hashes in proofs.read(folder).tensors.items():
            for key, each in hashes.items():
                tensor, *part = proofs.of_part(name)
                _same(made / "zero" / tensor / f"{key}.pt", part, each)
    except Broken as broken:
        raise TrainerFailure(
            Class.NOT_CONVERTED, f"The conversion of {folder.name} went wrong: {broken}."
        ) from broken


def _same(file: Path, part: list[int], expected: str) -> None:
    cut, index, count = part
    what = f"{file.stem} of {file.parent.name}"
    try:
        found: Any = torch.load(file, map_location="cpu", weights_only=False)
    except FileNotFoundError:
        raise Broken(f"{what} is missing") from None
    values = found["param"] if isinstance(found, dict) else found
    own = values if count == 1 else values.chunk(count, dim=cut)[index]
    if digest(own.detach().float().numpy()) != expected:
        raise Broken(f"{what} is not what was saved")
