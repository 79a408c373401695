"""What was ordered: the JSON in PREAMAR_TRAIN, checked and frozen.

Keys that this version does not know are ignored, so that a newer operator can add some;
a missing or impossible value is the user's `ConfigError` with its name in the sentence.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from preamar_train.failures import Class, TrainerFailure

PRECISIONS = ("FP32", "BF16", "FP16")
OWN = "own"  # the name of the source that a script reads itself
STAGES = (0, 1, 2, 3)
REMOTE = ("s3://", "gs://", "az://", "https://")


def bad(sentence: str) -> TrainerFailure:
    return TrainerFailure(Class.CONFIG_ERROR, sentence)


@dataclass(frozen=True, slots=True)
class DataSource:
    """Text in a volume has a `path`; in an object store it has a `uri`, and maybe a folder of
    `credentials`."""

    name: str
    path: str
    weight: Decimal
    uri: str = ""
    credentials: str = ""

    @property
    def remote(self) -> bool:
        return bool(self.uri)


@dataclass(frozen=True, slots=True)
class CheckpointSpec:
    path: str
    uri: str
    every_steps: int | None
    every_seconds: float | None
    mean_seconds: float | None  # between faults; set for schedule Auto
    keep: int


@dataclass(frozen=True, slots=True)
class ExportSpec:
    path: str
    uri: str


@dataclass(frozen=True, slots=True)
class TrainRequest:
    job: str
    uid: str
    attempt: int
    preset: str
    parameters: Mapping[str, Any]
    tensor: int
    pipeline: int
    expert: int
    zero_stage: int
    offload: str
    global_batch: int
    micro_batch: int
    accumulation: int
    deepspeed: Mapping[str, Any]
    sources: tuple[DataSource, ...]
    shuffle_seed: int
    scratch: str | None
    prepared: str | None
    checkpoint: CheckpointSpec
    steps: int
    precision: str
    export: ExportSpec | None


def parse(text: str, world_size: int, *, own_data: bool = False) -> TrainRequest:
    """The order, valid for this number of ranks. With `own_data` its sources are not read."""
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise bad(f"PREAMAR_TRAIN is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise bad("PREAMAR_TRAIN is not a JSON object")
    model, batch, data = read_map(raw, "model"), read_map(raw, "batch"), read_map(raw, "data")
    parallelism = read_map(raw, "parallelism")
    micro, accumulation = read_whole(batch, "micro", 1), read_whole(batch, "accumulation", 1)
    total = read_whole(batch, "global", 1)
    tensor, pipeline, expert = (
        read_whole(parallelism, kind, 1, default=1) for kind in ("tensor", "pipeline", "expert")
    )
    copies = _copies(tensor, pipeline, expert, world_size)
    if micro * accumulation * copies != total:
        raise bad(
            f"batch.global {total} is not micro {micro} x accumulation {accumulation} x {copies} "
            "data-parallel ranks"
        )
    return TrainRequest(
        job=str(raw.get("job", "")),
        uid=str(raw.get("uid", "")),
        attempt=read_whole(raw, "attempt", 1, default=1),
        preset=read_text(model, "preset"),
        parameters=read_map(model, "parameters"),
        tensor=tensor,
        pipeline=pipeline,
        expert=expert,
        zero_stage=_one_of(parallelism, "zeroStage", STAGES, default=1),
        offload=_one_of(parallelism, "offload", ("None",), default="None"),
        global_batch=total,
        micro_batch=micro,
        accumulation=accumulation,
        deepspeed=read_map(raw, "deepspeedConfig"),
        sources=(DataSource(OWN, "", Decimal(1)),) if own_data else read_sources(data),
        shuffle_seed=read_whole(data, "shuffleSeed", 0, default=0),
        scratch=read_text(data, "stage") if data.get("stage") else None,
        prepared=read_text(data, "prepared") if data.get("prepared") else None,
        checkpoint=_checkpoint(read_map(raw, "checkpoint")),
        steps=read_whole(raw, "steps", 1),
        precision=_one_of(raw, "precision", PRECISIONS, default="BF16"),
        export=_export(raw.get("export")),
    )


@dataclass(frozen=True, slots=True)
class Volume:
    """The part of an order that says where checkpoints are and who may write there."""

    uid: str
    attempt: int
    checkpoint: CheckpointSpec


def volume(text: str) -> Volume:
    """The same order, for whoever does not train."""
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise bad(f"PREAMAR_TRAIN is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise bad("PREAMAR_TRAIN is not a JSON object")
    return Volume(
        uid=str(raw.get("uid", "")),
        attempt=read_whole(raw, "attempt", 1, default=1),
        checkpoint=_checkpoint(read_map(raw, "checkpoint")),
    )


def _copies(tensor: int, pipeline: int, expert: int, ranks: int) -> int:
    """How many copies of the model so many ranks are."""
    if ranks % (tensor * pipeline):
        raise bad(
            f"{ranks} ranks cannot be divided into copies of the model on parallelism.tensor "
            f"{tensor} x parallelism.pipeline {pipeline}"
        )
    if ranks // pipeline % expert:
        raise bad(
            f"{ranks // pipeline} ranks of a stage cannot be divided into groups of "
            f"parallelism.expert {expert}"
        )
    return ranks // (tensor * pipeline)


def read_sources(data: Mapping[str, Any]) -> tuple[DataSource, ...]:
    entries = data.get("sources")
    if not isinstance(entries, list) or not entries:
        raise bad("data.sources names no source of text")
    sources = tuple(_source(entry) for entry in entries)
    names = [source.name for source in sources]
    if len(set(names)) != len(names):
        raise bad(f"data.sources has one name twice: {', '.join(names)}")
    return sources


def _source(entry: Any) -> DataSource:
    if not isinstance(entry, dict):
        raise bad("an entry of data.sources is not an object")
    name, uri = read_text(entry, "name"), str(entry.get("uri") or "")
    path = "" if uri else read_text(entry, "path")
    if uri and not uri.startswith(REMOTE):
        raise bad(f"data source {name} is at {uri}, and this trainer reads {', '.join(REMOTE)}")
    try:
        weight = Decimal(str(entry.get("weight", "1")))
    except InvalidOperation as error:
        raise bad(f"the weight of data source {name} is not a number") from error
    if not weight.is_finite() or weight <= 0:
        raise bad(f"the weight of data source {name} must be above 0")
    return DataSource(name, path, weight, uri, str(entry.get("credentials") or ""))


def _checkpoint(raw: Mapping[str, Any]) -> CheckpointSpec:
    steps = raw.get("everySteps")
    return CheckpointSpec(
        path=read_text(raw, "path"),
        uri=read_text(raw, "uri"),
        every_steps=None if steps is None else read_whole(raw, "everySteps", 1),
        every_seconds=_seconds(raw, "everySeconds"),
        mean_seconds=_seconds(raw, "meanSecondsBetweenFaults"),
        keep=read_whole(raw, "keep", 1, default=3),
    )


def _seconds(raw: Mapping[str, Any], key: str) -> float | None:
    seconds = raw.get(key)
    if seconds is not None and not (
        isinstance(seconds, int | float) and math.isfinite(seconds) and seconds > 0
    ):
        raise bad(f"checkpoint.{key} must be a number of seconds above 0")
    return None if seconds is None else float(seconds)


def _export(raw: Any) -> ExportSpec | None:
    if raw is None:
        return None
    if not isinstance(raw, dict):
        raise bad("export is not an object")
    return ExportSpec(read_text(raw, "path"), read_text(raw, "uri"))


def read_map(raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = raw.get(key) or {}
    if not isinstance(value, dict):
        raise bad(f"{key} is not an object")
    return value


def read_text(raw: Mapping[str, Any], key: str) -> str:
    value = raw.get(key)
    if not isinstance(value, str) or not value:
        raise bad(f"{key} is missing")
    return value


def read_whole(raw: Mapping[str, Any], key: str, least: int, default: int | None = None) -> int:
    value = raw.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise bad(f"{key} must be a whole number of at least {least}, not {value!r}")
    return value


def _one_of(raw: Mapping[str, Any], key: str, allowed: tuple[Any, ...], default: Any) -> Any:
    value = raw.get(key, default)
    if isinstance(value, bool) or value not in allowed:
        raise bad(f"{key} {value!r} is not one of {', '.join(map(str, allowed))}")
    return value
