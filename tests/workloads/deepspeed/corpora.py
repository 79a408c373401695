"""Small corpora of tokens, made without text."""

from pathlib import Path

import numpy as np
from preamar_train.data import index as indexes
from preamar_train.data.index import Index, SourceIndex
from preamar_train.data.shards import StreamWriter


def written(folder: Path, sizes: dict[str, tuple[int, int]], kind: str = "uint16") -> Index:
    """Sources of so many training and held-out tokens; the n-th token of a stream is n mod 60000."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = []
    for name, counts in sizes.items():
        parts = []
        for part, count in zip(indexes.PARTS, counts, strict=True):
            out = StreamWriter(folder, name, part)
            out.write(line(count, kind).tobytes())
            parts.append(out.close())
        sources.append(SourceIndex(name, *parts))
    index = Index(kind, 60000, "0" * 64, tuple(sources))
    (folder / indexes.FILE).write_text(index.encode())
    return index


def line(count: int, kind: str = "uint16") -> np.ndarray:
    return (np.arange(count) % 60000).astype(indexes.KINDS[kind])
