"""What are the model's weights? Read from safetensors without copying: a header of JSON, then
bytes. Every offset is checked before use, so a broken or hostile file is refused by name.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from preamar_model.files.source import Source
from preamar_model.refusal import invalid

HEADER_LIMIT = 100_000_000
INDEX = "model.safetensors.index.json"
KINDS = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "U8": "u1",
    "BOOL": "?",
}


@dataclass(frozen=True, slots=True)
class Weight:
    file: Path
    kind: str
    shape: tuple[int, ...]
    offset: int

    def float32(self) -> np.ndarray:
        raw = np.memmap(self.file, KINDS[self.kind], "r", self.offset, self.shape or (1,)).reshape(
            self.shape
        )
        if self.kind == "BF16":  # the upper half of a float32
            return (raw.astype(np.uint32) << 16).view(np.float32)
        return np.asarray(raw, dtype=np.float32)


def read(source: Source) -> Mapping[str, Weight]:
    """All weights of one file, or of the shards that an index names."""
    if source.is_file:
        return _file(source.path)
    if source.has(INDEX):
        return _shards(source)
    files = [name for name in source.files if name.endswith(".safetensors") and "/" not in name]
    if "model.safetensors" not in files and len(files) != 1:
        raise invalid(f"Several safetensors files and no {INDEX}: which is the model?")
    return _file(source.at("model.safetensors" if "model.safetensors" in files else files[0]))


def _shards(source: Source) -> Mapping[str, Weight]:
    try:
        wanted = json.loads(source.at(INDEX).read_text())["weight_map"]
        shards = sorted(set(wanted.values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise invalid(f"{INDEX} is not a safetensors index: {error}.") from error
    weights: dict[str, Weight] = {}
    for shard in shards:
        if not source.has(shard):
            raise invalid(f"{INDEX} names {shard}, which is missing.")
        weights |= _file(source.at(shard))
    if missing := sorted(set(wanted) - set(weights)):
        raise invalid(f"{INDEX} names weights that no shard holds: {', '.join(missing[:3])}.")
    return weights


def _file(path: Path) -> dict[str, Weight]:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(HEADER_LIMIT, size - 8):
            raise invalid(
                f"{path.name} is not a whole safetensors file: its header does not fit in {size} bytes."
            )
        try:
            header = json.loads(file.read(length))
            entries = [(name, body) for name, body in header.items() if name != "__metadata__"]
            return {name: _weight(path, name, body, 8 + length, size) for name, body in entries}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise invalid(f"{path.name} has a header that is not safetensors: {error}.") from error


def _weight(path: Path, name: str, body: Mapping, start: int, size: int) -> Weight:
    kind, shape = str(body["dtype"]), tuple(int(n) for n in body["shape"])
    begin, end = (int(n) for n in body["data_offsets"])
    if kind not in KINDS:
        raise invalid(f"{path.name}: weight {name} has type {kind}, which is not supported.")
    wanted = math.prod(shape) * np.dtype(KINDS[kind]).itemsize
    if min(shape, default=0) < 0 or begin < 0 or end - begin != wanted or start + end > size:
        raise invalid(f"{path.name} is cut short or broken at weight {name}.")
    return Weight(path, kind, shape, start + begin)
