"""How all ranks write one checkpoint together, and how they load one.

DeepSpeed writes under a name that nothing reads; each rank then makes a share of the files
durable and reads them back; rank 0 writes the manifest, renames the folder and points `latest`
at it. Any step of this that fails ends the attempt; the checkpoint before it stays valid.
"""

import errno
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from preamar_train.checkpoint import manifest as manifests
from preamar_train.checkpoint import proof as proofs
from preamar_train.checkpoint.manifest import FileSum, Manifest
from preamar_train.checkpoint.proof import Proof
from preamar_train.checkpoint.store import Store, name_of, trouble, unwritable
from preamar_train.failures import Class, TrainerFailure, classify
from preamar_train.ranks.gang import RankGroup

TOKENIZER = "tokenizer.json"


def save(
    engine: Any, gang: RankGroup, store: Store, tokenizer: str, plan: Manifest, proof: Proof
) -> Manifest:
    """Writes, verifies and publishes; every rank returns the same manifest or raises."""
    tag = store.saving(plan.step)
    folder = store.path / tag
    _together(
        gang, store, lambda: _prepare(store, folder, tokenizer, proof) if gang.rank == 0 else None
    )
    try:
        _write(engine, store, tag, plan)
    except Exception as error:  # its peers wait inside DeepSpeed: only leaving tells them
        raise _failure(store, error) from error
    mine = gang.tell(manifests.names_in(folder))[gang.rank :: gang.size]
    written = _together(gang, store, lambda: manifests.sums(folder, mine, to_disk=False))
    again = _together(gang, store, lambda: manifests.sums(folder, mine, to_disk=True))
    if written != again:
        raise trouble(f"The checkpoint of step {plan.step} reads back differently from the volume.")
    files = {name: each for share in again for name, each in share.items()}
    done = _together(
        gang, store, lambda: _publish(store, folder, plan, files) if gang.rank == 0 else None
    )
    return done[0]


def _prepare(store: Store, folder: Path, tokenizer: str, proof: Proof) -> None:
    store.still_mine()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TOKENIZER).write_text(tokenizer)
    proofs.write(folder, proof)


def _write(engine: Any, store: Store, tag: str, plan: Manifest) -> None:
    words = {"step": plan.step, "consumed": plan.consumed}
    engine.save_checkpoint(str(store.path), tag=tag, client_state=words, save_latest=False)


def _publish(store: Store, folder: Path, plan: Manifest, files: dict[str, FileSum]) -> Manifest:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    words = {name: getattr(plan, name) for name in plan.__dataclass_fields__}
    manifest = manifests.write(folder, Manifest(**{**words, "at": now, "files": files}))
    store.publish(plan.step)
    return manifest


def _together(gang: RankGroup, store: Store, act: Any) -> list[Any]:
    """Every rank acts; if one fails, all raise its failure instead of waiting for it."""
    result, failure = None, None
    try:
        result = act()
    except Exception as error:  # noqa: BLE001 - the others must hear of any
        failure = _failure(store, error)
    heard = gang.hear((result, failure and (failure.kind.value, failure.sentence)))
    for _, told in heard:
        if told:
            raise TrainerFailure(Class(told[0]), told[1])
    return [each for each, _ in heard]


def _failure(store: Store, error: Exception) -> TrainerFailure:
    if isinstance(error, OSError):
        return unwritable(store.path, error)
    # torch.save hides the errno of a full disk in its own error.
    low = str(error).lower()
    if "pytorchstreamwriter" in low or "inline_container" in low or "no space left" in low:
        return unwritable(
            store.path,
            OSError(errno.ENOSPC, "a file could not be written in full (is the volume full?)"),
        )
    return classify(error)


def load(engine: Any, folder: Path, manifest: Manifest) -> None:
    """Puts weights, optimiser and schedule back; never goes on from scratch in silence."""
    try:
        loaded, words = engine.load_checkpoint(str(folder.parent), tag=folder.name)
    except Exception as error:
        failure = classify(error)
        if failure.kind is not Class.UNKNOWN:
            raise failure from error
        raise trouble(f"{folder.name} could not be loaded: {failure.sentence}") from error
    if loaded is None or int((words or {}).get("step", -1)) != manifest.step:
        raise trouble(
            f"{folder.name} could not be loaded: DeepSpeed found no state of step {manifest.step}."
        )


def told(manifest: Manifest, uri: str) -> dict[str, Any]:
    """A checkpoint as the operator hears of it."""
    return {
        "step": manifest.step,
        "uri": f"{uri.rstrip('/')}/{name_of(manifest.step)}",
        "at": manifest.at,
        "bytes": manifest.bytes,
        "manifestHash": manifest.hash,
        "worldSize": manifest.world_size,
    }
