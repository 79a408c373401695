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

from preamar_train.failures import Class, Failure

PRECISIONS = ("FP32", "BF16", "FP16")
STAGES = (0, 1, 2, 3)


def bad(sentence: str) -> Failure:
    return Failure(Class.CONFIG_ERROR, sentence)


@dataclass(frozen=True, slots=True)
class Source:
    name: str
    path: str
    weight: Decimal


@dataclass(frozen=True, slots=True)
class Checkpoint:
    path: str
    uri: str
    every_steps: int | None
    every_seconds: float | None
    keep: int


@dataclass(frozen=True, slots=True)
class Export:
    path: str
    uri: str


@dataclass(frozen=True, slots=True)
class Request:
    job: str
    uid: str
    attempt: int
    preset: str
    parameters: Mapping[str, Any]
    zero_stage: int
    offload: str
    global_batch: int
    micro_batch: int
    accumulation: int
    deepspeed: Mapping[str, Any]
    sources: tuple[Source, ...]
    shuffle_seed: int
    checkpoint: Checkpoint
    steps: int
    precision: str
    export: Export | None


def parse(text: str, world_size: int) -> Request:
    """The order, valid for this number of ranks."""
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise bad(f"PREAMAR_TRAIN is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise bad("PREAMAR_TRAIN is not a JSON object")
    _data_parallel_only(_map(raw, "parallelism"))
    model, batch, data = _map(raw, "model"), _map(raw, "batch"), _map(raw, "data")
    parallelism = _map(raw, "parallelism")
    micro, accumulation = _whole(batch, "micro", 1), _whole(batch, "accumulation", 1)
    total = _whole(batch, "global", 1)
    if micro * accumulation * world_size != total:
        raise bad(
            f"batch.global {total} is not micro {micro} x accumulation {accumulation} x {world_size} ranks"
        )
    return Request(
        job=str(raw.get("job", "")),
        uid=str(raw.get("uid", "")),
        attempt=_whole(raw, "attempt", 1, default=1),
        preset=_text(model, "preset"),
        parameters=_map(model, "parameters"),
        zero_stage=_one_of(parallelism, "zeroStage", STAGES, default=1),
        offload=_one_of(parallelism, "offload", ("None",), default="None"),
        global_batch=total,
        micro_batch=micro,
        accumulation=accumulation,
        deepspeed=_map(raw, "deepspeedConfig"),
        sources=_sources(data),
        shuffle_seed=_whole(data, "shuffleSeed", 0, default=0),
        checkpoint=_checkpoint(_map(raw, "checkpoint")),
        steps=_whole(raw, "steps", 1),
        precision=_one_of(raw, "precision", PRECISIONS, default="BF16"),
        export=_export(raw.get("export")),
    )


def _data_parallel_only(parallelism: Mapping[str, Any]) -> None:
    for key in ("tensor", "pipeline", "expert"):
        if _whole(parallelism, key, 1, default=1) != 1:
            raise bad(
                f"parallelism.{key} must be 1: the built-in models train data-parallel (ZeRO)"
            )


def _sources(data: Mapping[str, Any]) -> tuple[Source, ...]:
    entries = data.get("sources")
    if not isinstance(entries, list) or not entries:
        raise bad("data.sources names no source of text")
    sources = tuple(_source(entry) for entry in entries)
    names = [source.name for source in sources]
    if len(set(names)) != len(names):
        raise bad(f"data.sources has one name twice: {', '.join(names)}")
    return sources


def _source(entry: Any) -> Source:
    if not isinstance(entry, dict):
        raise bad("an entry of data.sources is not an object")
    name, path = _text(entry, "name"), _text(entry, "path")
    try:
        weight = Decimal(str(entry.get("weight", "1")))
    except InvalidOperation as error:
        raise bad(f"the weight of data source {name} is not a number") from error
    if not weight.is_finite() or weight <= 0:
        raise bad(f"the weight of data source {name} must be above 0")
    return Source(name, path, weight)


def _checkpoint(raw: Mapping[str, Any]) -> Checkpoint:
    steps, seconds = raw.get("everySteps"), raw.get("everySeconds")
    if seconds is not None and not (
        isinstance(seconds, int | float) and math.isfinite(seconds) and seconds > 0
    ):
        raise bad("checkpoint.everySeconds must be a number of seconds above 0")
    return Checkpoint(
        path=_text(raw, "path"),
        uri=_text(raw, "uri"),
        every_steps=None if steps is None else _whole(raw, "everySteps", 1),
        every_seconds=None if seconds is None else float(seconds),
        keep=_whole(raw, "keep", 1, default=3),
    )


def _export(raw: Any) -> Export | None:
    if raw is None:
        return None
    if not isinstance(raw, dict):
        raise bad("export is not an object")
    return Export(_text(raw, "path"), _text(raw, "uri"))


def _map(raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = raw.get(key) or {}
    if not isinstance(value, dict):
        raise bad(f"{key} is not an object")
    return value


def _text(raw: Mapping[str, Any], key: str) -> str:
    value = raw.get(key)
    if not isinstance(value, str) or not value:
        raise bad(f"{key} is missing")
    return value


def _whole(raw: Mapping[str, Any], key: str, least: int, default: int | None = None) -> int:
    value = raw.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise bad(f"{key} must be a whole number of at least {least}, not {value!r}")
    return value


def _one_of(raw: Mapping[str, Any], key: str, allowed: tuple[Any, ...], default: Any) -> Any:
    value = raw.get(key, default)
    if isinstance(value, bool) or value not in allowed:
        raise bad(f"{key} {value!r} is not one of {', '.join(map(str, allowed))}")
    return value
