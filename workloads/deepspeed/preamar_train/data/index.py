"""What a corpus of tokens is made of: `corpus.json`, written last, read first.

The digest covers the names of the sources, the kind of number and every hash of every shard, so
two corpora with one digest hold the same tokens in the same order, whoever wrote them and with
however many workers.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from preamar_train.data.documents import no_data
from preamar_train.data.shards import BLOCK_BYTES, SHARD_BYTES, Shard

FILE = "corpus.json"
TOKENIZER = "tokenizer.json"
FORMAT = "preamar-tokens-1"
LARGEST = 64 * 2**20
PARTS = ("train", "held")
KINDS = {"uint16": "<u2", "uint32": "<u4"}


@dataclass(frozen=True, slots=True)
class SourceIndex:
    """The shards of one source: `train` to learn from, `held` kept aside."""

    name: str
    train: tuple[Shard, ...]
    held: tuple[Shard, ...]


@dataclass(frozen=True, slots=True)
class Index:
    """`kind` is the number that a token is written as, `tokenizer` the SHA-256 of its JSON."""

    kind: str
    vocabulary: int
    tokenizer: str
    sources: tuple[SourceIndex, ...]

    @property
    def digest(self) -> str:
        words = {
            "format": FORMAT,
            "kind": self.kind,
            "blockBytes": BLOCK_BYTES,
            "shardBytes": SHARD_BYTES,
            "sources": sorted(
                [each.name, [s.sums for s in each.train], [s.sums for s in each.held]]
                for each in self.sources
            ),
        }
        return "sha256:" + hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()

    def shards(self) -> tuple[Shard, ...]:
        return tuple(s for each in self.sources for s in (*each.train, *each.held))

    def encode(self) -> str:
        """The text of `corpus.json`."""
        words = {
            "format": FORMAT,
            "digest": self.digest,
            "kind": self.kind,
            "vocabulary": self.vocabulary,
            "tokenizer": self.tokenizer,
            "blockBytes": BLOCK_BYTES,
            "shardBytes": SHARD_BYTES,
            "sources": [
                {
                    "name": each.name,
                    **{
                        part: [
                            {"file": s.file, "bytes": s.bytes, "sums": s.sums}
                            for s in getattr(each, part)
                        ]
                        for part in PARTS
                    },
                }
                for each in self.sources
            ],
        }
        return json.dumps(words, indent=1)


def decode(text: str | bytes, where: str) -> Index:
    """The index that the text says; DataError if it is none, or not the one of its digest."""
    try:
        raw = json.loads(text)
        if raw["format"] != FORMAT:
            raise no_data(
                f"{where} has the format {str(raw['format'])[:40]!r}, and this trainer reads {FORMAT}."
            )
        if (raw["blockBytes"], raw["shardBytes"]) != (BLOCK_BYTES, SHARD_BYTES):
            raise no_data(f"{where} has shards or blocks of another size than {FORMAT} has.")
        index = Index(
            kind=raw["kind"],
            vocabulary=int(raw["vocabulary"]),
            tokenizer=str(raw["tokenizer"]),
            sources=tuple(_source(each) for each in raw["sources"]),
        )
        sound = index.kind in KINDS and bool(index.sources) and index.digest == raw["digest"]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise no_data(f"{where} is no list of shards: prepare the corpus again.") from error
    if not sound:
        raise no_data(
            f"{where} does not match its own digest: it was changed or torn. Prepare the corpus again."
        )
    return index


def _source(raw: Mapping[str, Any]) -> SourceIndex:
    return SourceIndex(str(raw["name"]), *(tuple(map(_shard, raw[part])) for part in PARTS))


def _shard(raw: Mapping[str, Any]) -> Shard:
    # Names are joined to a path: one with a slash could lead out of the corpus.
    if not re.fullmatch(r"[a-z0-9][-a-z0-9]*\.(train|held)\.[0-9]{5,}\.tokens", raw["file"]):
        raise ValueError(raw["file"])
    if not 0 < int(raw["bytes"]) <= SHARD_BYTES:
        raise ValueError(raw["bytes"])
    return Shard(raw["file"], int(raw["bytes"]), str(raw["sums"]))
