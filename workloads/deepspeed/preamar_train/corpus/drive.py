"""From raw text to shards, phase by phase: what is done where is left to Dask.

Every phase is a list of independent pieces of work. Their results are put together in the order
of the text, so what is written does not depend on how many workers there are, or on which of them
did what. The result has its name, made of the order and of what was read, only when it is whole.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from preamar_train.corpus import work
from preamar_train.corpus.minhash import BANDS
from preamar_train.corpus.order import PrepareSpec
from preamar_train.corpus.slices import Slice, fingerprint, slices_of
from preamar_train.corpus.work import Range
from preamar_train.data import index as indexes
from preamar_train.data.corpus import kind_of
from preamar_train.data.documents import no_data
from preamar_train.data.index import Index, SourceIndex
from preamar_train.data.shards import SHARD_BYTES, Shard, name_of
from preamar_train.request import DataSource

BUCKETS = 16
REPORT = "report.json"
Each = Callable[[str, Callable[..., Any], Iterable[tuple[Any, ...]]], list[Any]]
"""Runs a function over arguments, anywhere; the results in the order of the arguments."""


@dataclass(frozen=True, slots=True)
class Done:
    """A corpus: its folder's name, and what is told of it."""

    folder: str
    digest: str
    report: dict[str, Any]
    reused: bool


def drive(order: PrepareSpec, vocabulary: int, each: Each) -> Done:
    """Prepares the corpus, unless it is there."""
    begun = time.monotonic()
    order.target.mkdir(parents=True, exist_ok=True)
    remote = {s.name: _listed(s) for s in order.sources if s.remote}
    name = f"{order.key}-{_content(order, vocabulary, remote, each)[:12]}"
    final = order.target / name
    if (final / indexes.FILE).exists():
        index = indexes.decode((final / indexes.FILE).read_bytes(), str(final / indexes.FILE))
        report = json.loads((final / REPORT).read_text())
        return Done(name, index.digest, report, reused=True)
    folder = order.target / f".{name}.work"
    folder.mkdir(exist_ok=True)
    slices = slices_of(_brought(order, remote, folder, each))
    report = _judge(order, slices, folder, each)
    index = _write(order, vocabulary, slices, folder, each, report)
    report |= {"bytesRead": sum(p.last - p.first for s in slices for p in s.pieces)}
    out = folder / "out"
    (out / REPORT).write_text(json.dumps(report, indent=1, sort_keys=True))
    _publish(out, index, final)
    shutil.rmtree(folder, ignore_errors=True)
    print(f"prepared {name} in {time.monotonic() - begun:.1f} s: {json.dumps(report)}", flush=True)
    return Done(name, index.digest, report, reused=False)


def _listed(source: DataSource) -> list[tuple[Any, ...]]:
    from preamar_train.corpus import objects  # with the library for object stores

    return objects.listed(source)


def _brought(
    order: PrepareSpec, remote: dict[str, list[tuple[Any, ...]]], folder: Path, each: Each
) -> tuple[DataSource, ...]:
    """The sources as files; objects are copied beside the target, as every worker must see them."""
    if not remote:
        return order.sources
    from preamar_train.corpus import objects

    place = folder / "objects"
    jobs = [(str(place), *job) for found in remote.values() for job in found]
    each("fetching", objects.fetched, jobs)
    return tuple(replace(s, path=str(place / s.name)) if s.remote else s for s in order.sources)


def _content(
    order: PrepareSpec, vocabulary: int, remote: dict[str, list[tuple[Any, ...]]], each: Each
) -> str:
    """A hash of all that decides what is written: the order, every byte of the text in volumes,
    every version of an object."""
    local = [s for s in order.sources if not s.remote]
    roots = {s.name: s.path if Path(s.path).is_dir() else str(Path(s.path).parent) for s in local}
    prints = each("reading", fingerprint, [(one, roots) for one in slices_of(local)])
    objects = {
        name: [(file, found.size, found.version) for _, file, found in jobs]
        for name, jobs in remote.items()
    }
    words = [indexes.FORMAT, order.words(), vocabulary, prints, objects]
    return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()


def _judge(order: PrepareSpec, slices: Sequence[Slice], folder: Path, each: Each) -> dict[str, Any]:
    near = order.duplicates == "MinHash"
    jobs = [(one, order.filters, folder) for one in slices]
    counts = each("judging", _judged_near if near else _judged, jobs)
    report: dict[str, Any] = {"documents": sum(sum(c.values()) for c in counts)}
    report["refused"] = {
        rule: total for rule in work.RULES if rule and (total := sum(c[rule] for c in counts))
    }
    dropped = np.zeros((0, 2), np.int64)
    total = len(slices)
    if order.duplicates != "None":
        found = each("comparing", work.same, [(folder, total, b, BUCKETS) for b in range(BUCKETS)])
        dropped = np.concatenate(found)
        report["duplicates"] = len(dropped)
    if near:
        jobs = [(folder, total, band, order.similarity) for band in range(BANDS)]
        pairs = np.concatenate(each("comparing", work.alike, jobs))
        both = np.unique(np.concatenate([dropped, _all_but_first(pairs)]), axis=0)
        report["nearDuplicates"] = len(both) - len(dropped)
        dropped = both
    unfinished = folder / ".dropped.npz"
    with unfinished.open("wb") as out:
        np.savez(out, places=dropped)
    unfinished.replace(folder / "dropped.npz")
    return report


def _judged(one: Slice, rules, folder: Path) -> dict[str, int]:
    return work.judged(one, rules, folder, near=False)


def _judged_near(one: Slice, rules, folder: Path) -> dict[str, int]:
    return work.judged(one, rules, folder, near=True)


def _all_but_first(pairs: np.ndarray) -> np.ndarray:
    """Of documents that pairs [n, 4] connect, all [m, 2] but the first of each such group."""
    parent: dict[tuple[int, int], tuple[int, int]] = {}

    def root(place: tuple[int, int]) -> tuple[int, int]:
        while parent.setdefault(place, place) != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    for row in pairs.tolist():
        one, other = root((row[0], row[1])), root((row[2], row[3]))
        parent[max(one, other)] = min(one, other)
    found = [place for place in parent if root(place) != place]
    return np.array(found, np.int64).reshape(-1, 2)


def _write(
    order: PrepareSpec,
    vocabulary: int,
    slices: Sequence[Slice],
    folder: Path,
    each: Each,
    report: dict[str, Any],
) -> Index:
    counts = each("counting", work.counted, [(one, folder) for one in slices])
    report["kept"] = sum(documents for documents, _ in counts)
    by_source = tuple(
        tuple(one for one in slices if one.source == source.name) for source in order.sources
    )
    (text,) = each("learning", work.learned, [(by_source, folder, vocabulary)])
    kind = kind_of(vocabulary)
    jobs, following = [], dict.fromkeys((s.name for s in order.sources), 0)
    for one, (_, passages) in zip(slices, counts, strict=True):
        jobs.append((one, following[one.source], text, vocabulary, kind, folder))
        following[one.source] += passages
    sizes = each("tokenising", work.written, jobs)
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    cuts = [
        (file, ranges, out)
        for source, mine in zip(order.sources, by_source, strict=True)
        for place, part in enumerate(indexes.PARTS)
        for file, ranges in shards_of(
            source.name,
            part,
            [(str(folder / f"{one.number:06}.{part}"), sizes[one.number][place]) for one in mine],
        )
    ]
    made: dict[str, Shard] = {s.file: s for s in each("joining", work.assembled, cuts)}
    found = []
    for source in order.sources:
        parts = [
            tuple(made[file] for file, _, _ in cuts if file.startswith(f"{source.name}.{part}."))
            for part in indexes.PARTS
        ]
        found.append(SourceIndex(source.name, *parts))
    (out / indexes.TOKENIZER).write_text(text)
    width = np.dtype(indexes.KINDS[kind]).itemsize
    report["tokens"] = {s.name: sum(x.bytes for x in s.train) // width for s in found}
    report["heldOutTokens"] = {s.name: sum(x.bytes for x in s.held) // width for s in found}
    _not_empty(report)
    return Index(kind, vocabulary, hashlib.sha256(text.encode()).hexdigest(), tuple(found))


def shards_of(
    source: str, part: str, files: Iterable[tuple[str, int]]
) -> list[tuple[str, tuple[Range, ...]]]:
    """How a stream that lies in files is cut into shards: the ranges of each."""
    found: list[tuple[str, tuple[Range, ...]]] = []
    held: list[Range] = []
    size = 0
    for file, total in files:
        first = 0
        while first < total:
            last = min(total, first + SHARD_BYTES - size)
            held.append(Range(file, first, last))
            size += last - first
            first = last
            if size == SHARD_BYTES:
                found.append((name_of(source, part, len(found)), tuple(held)))
                held, size = [], 0
    if held:
        found.append((name_of(source, part, len(found)), tuple(held)))
    return found


def _not_empty(report: dict[str, Any]) -> None:
    empty = [name for name, count in report["tokens"].items() if not count]
    if empty:
        told = {k: v for k, v in report.items() if k in {"documents", "refused", "duplicates"}}
        raise no_data(
            f"Nothing of data source {empty[0]} is left to train on: {json.dumps(told)}. Loosen "
            "data.prepare.filters, or give it more text."
        )


def _publish(out: Path, index: Index, final: Path) -> None:
    file = out / indexes.FILE
    with file.open("w") as stream:
        stream.write(index.encode())
        stream.flush()
        os.fsync(stream.fileno())
    try:
        out.rename(final)
    except OSError:
        if not (final / indexes.FILE).exists():  # another Job may have been first: equal bytes
            raise


def told(done: Done, order: PrepareSpec, seconds: float) -> dict[str, Any]:
    """The termination message of a corpus that is there."""
    report = done.report
    return {
        "outcome": "Prepared",
        "uri": f"{order.uri.rstrip('/')}/{done.folder}",
        "folder": done.folder,
        "digest": done.digest,
        "documents": report["documents"],
        "kept": report["kept"],
        "tokens": sum(report["tokens"].values()),
        "reused": done.reused,
        "seconds": round(seconds, 1),
    }
