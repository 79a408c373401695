"""How a trained model reaches its readers: whole, checked, at once.

All ranks gather the weights; rank 0 writes every file into a folder that nobody reads, checks
the ONNX graph against torch, then renames the folder into place. `digests.json` holds the
SHA-256 of each file. A volume's root cannot be renamed; there the files are moved one by one,
`config.json`, without which nothing is a model, last.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import torch
from preamar_storage.durable import sync
from safetensors.numpy import save_file

from preamar_train.export import graph, llama, mixture
from preamar_train.export.verify import verify
from preamar_train.failures import Class, TrainerFailure, classify
from preamar_train.models.mixture import decoder_of
from preamar_train.models.presets import ModelShape
from preamar_train.ranks.weights import full_weights
from preamar_train.run import Run

DIGESTS = "digests.json"
LAST = "config.json"


def export(run: Run, shape: ModelShape) -> None:
    request, gang = run.request, run.gang
    weights = full_weights(run.engine, run.layout, gang)
    failure = None
    if gang.rank == 0:
        try:
            _publish(
                weights, shape, run.ready.tokenizer, Path(request.export.path), request.attempt
            )
        except OSError as error:
            reason = error.strerror or str(error)
            failure = TrainerFailure(
                Class.UNKNOWN, f"The export volume cannot be written ({error.filename}): {reason}."
            )
        except Exception as error:  # noqa: BLE001 - the other ranks must hear of any
            failure = classify(error)
    told = gang.tell(failure and (failure.kind.value, failure.sentence))
    if told:
        raise TrainerFailure(Class(told[0]), told[1])


def _publish(
    weights: dict[str, np.ndarray], shape: ModelShape, tokenizer: str, target: Path, attempt: int
) -> None:
    # Inside the volume, so that the rename stays within one file system.
    root_of_volume = os.path.ismount(target)
    stage = (target if root_of_volume else target.parent) / f".exporting-{target.name}-{attempt}"
    stage.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir()
    try:
        worst = _write(stage, weights, shape, tokenizer)
        (_into if root_of_volume else _instead)(stage, target)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    print(f"exported; ONNX differs from torch by at most {worst:.2g}", flush=True)


def _write(stage: Path, weights: dict[str, np.ndarray], shape: ModelShape, tokenizer: str) -> float:
    save_file(mixture.apart(weights), stage / "model.safetensors", metadata={"format": "pt"})
    (stage / "tokenizer.json").write_text(tokenizer)
    (stage / "tokenizer_config.json").write_text(
        json.dumps(llama.tokenizer_config(shape), indent=1)
    )
    (stage / LAST).write_text(json.dumps(llama.config(shape), indent=1))
    graph.save(graph.build(shape, weights), stage / "model.onnx")
    model = decoder_of(shape).float().eval()
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    worst = verify(stage / "model.onnx", model, shape)
    sums = {}
    for file in sorted(stage.iterdir()):
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
            sums[file.name] = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
    (stage / DIGESTS).write_text(json.dumps(sums, indent=1))
    sync(stage)
    return worst


def _instead(stage: Path, target: Path) -> None:
    """The new folder in place of an older export, which is only removed afterwards."""
    old = target.parent / f".replaced-{target.name}"
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    stage.rename(target)
    sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _into(stage: Path, target: Path) -> None:
    for file in sorted(stage.iterdir(), key=lambda each: each.name == LAST):
        file.replace(target / file.name)
    sync(target)
