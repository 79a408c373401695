"""May this attempt load the newest checkpoint as it is, or a converted one?

Shards of ZeRO fit the number of ranks that wrote them. For another number there is

    <path>/step-00000050.universal/   the same state, tensor by tensor, with a manifest of its own

written by `preamar-train convert`. Its manifest names the hash of the checkpoint it was made of,
so one that was made of anything else is never loaded. Without ZeRO, in FP32, every rank's file
holds everything, and the checkpoint itself loads at any size.
"""

from pathlib import Path

from preamar_train.checkpoint import manifest as manifests
from preamar_train.checkpoint.manifest import Manifest, TornCheckpoint
from preamar_train.failures import Class, TrainerFailure

SUFFIX = ".universal"


def universal_of(folder: Path) -> Path:
    return folder.with_name(folder.name + SUFFIX)


def sharded(manifest: Manifest) -> bool:
    """Whether its optimizer's state is divided over ranks."""
    return any("zero_pp_rank_" in name for name in manifest.files)


def verified(folder: Path, source: Manifest) -> Manifest:
    """The manifest of the conversion of `source`; raises `TornCheckpoint` where it cannot be trusted."""
    found = manifests.verify(universal_of(folder))
    if found.source != source.hash:
        raise TornCheckpoint("it was made of another checkpoint")
    return found


def loadable(folder: Path, manifest: Manifest, world_size: int) -> Path:
    """The folder that so many ranks can load. Raises `NotConverted` where a conversion is missing,
    `ContinuityBroken` where there is one and it is damaged."""
    if manifest.world_size == world_size or not sharded(manifest):
        return folder
    if not universal_of(folder).is_dir():
        raise TrainerFailure(
            Class.NOT_CONVERTED,
            f"{folder.name} was written by {manifest.world_size} ranks and is not converted yet, so "
            f"{world_size} ranks cannot load it.",
        )
    try:
        verified(folder, manifest)
    except TornCheckpoint as torn:
        raise TrainerFailure(
            Class.CONTINUITY_BROKEN,
            f"{universal_of(folder).name} cannot be trusted: {torn}.",
        ) from torn
    return universal_of(folder)
