"""What was ordered of the prepare Job: the JSON in PREAMAR_PREPARE, checked and frozen."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preamar_train.request import DataSource, bad, read_map, read_sources, read_text, read_whole

DUPLICATES = ("None", "Exact", "MinHash")
LEAST_SIMILARITY = 0.7  # below it bands of eight rows miss most pairs


@dataclass(frozen=True, slots=True)
class FilterSpec:
    """A document is kept if it has from `least` to `most` characters (0: no bound), at least this
    share of letters among what is no white space, and at most this share of repeated lines."""

    least: int = 0
    most: int = 0
    letters: float = 0.0
    repeated: float = 1.0


@dataclass(frozen=True, slots=True)
class PrepareSpec:
    sources: tuple[DataSource, ...]
    preset: str
    parameters: Mapping[str, Any]
    filters: FilterSpec
    duplicates: str
    similarity: float
    target: Path
    uri: str
    key: str

    def words(self) -> dict[str, Any]:
        """All of it that decides what is written, beside the text itself."""
        return {
            "sources": [each.name for each in self.sources],
            "filters": [
                self.filters.least,
                self.filters.most,
                self.filters.letters,
                self.filters.repeated,
            ],
            "duplicates": self.duplicates,
            "similarity": self.similarity if self.duplicates == "MinHash" else None,
        }


def parse(text: str) -> PrepareSpec:
    """The order; ConfigError with the name of what is wrong."""
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise bad(f"PREAMAR_PREPARE is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise bad("PREAMAR_PREPARE is not a JSON object")
    model, filters = read_map(raw, "model"), read_map(raw, "filters")
    duplicates = raw.get("deduplicate", "None")
    if duplicates not in DUPLICATES:
        raise bad(f"deduplicate {duplicates!r} is not one of {', '.join(DUPLICATES)}")
    return PrepareSpec(
        sources=read_sources(read_map(raw, "data")),
        preset=read_text(model, "preset"),
        parameters=read_map(model, "parameters"),
        filters=FilterSpec(
            least=read_whole(filters, "minCharacters", 0, default=0),
            most=read_whole(filters, "maxCharacters", 0, default=0),
            letters=_share(filters, "minLetterRatio", "0", 0.0),
            repeated=_share(filters, "maxRepeatedLineRatio", "1", 0.0),
        ),
        duplicates=duplicates,
        similarity=_share(raw, "similarity", "0.8", LEAST_SIMILARITY),
        target=Path(read_text(raw, "target")),
        uri=read_text(raw, "uri"),
        key=read_text(raw, "key"),
    )


def _share(raw: Mapping[str, Any], key: str, default: str, least: float) -> float:
    try:
        value = float(raw.get(key, default))
    except (TypeError, ValueError):
        value = -1.0
    if not least <= value <= 1:
        raise bad(f"{key} must be a number from {least:g} to 1, not {raw.get(key)!r}")
    return value
