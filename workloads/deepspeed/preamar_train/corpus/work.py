"""The pieces of work that run anywhere: each reads files, writes files, and returns a few numbers.

What a piece writes has its name only when it is whole, so a piece that was done before a pod died
is not done again, and two pods that do the same write the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from preamar_train.corpus import judge, minhash
from preamar_train.corpus.minhash import Signer
from preamar_train.corpus.order import FilterSpec
from preamar_train.corpus.slices import Slice, documents_of
from preamar_train.data import tokens
from preamar_train.data.corpus import tokenised
from preamar_train.data.documents import Passage
from preamar_train.data.index import KINDS
from preamar_train.data.shards import Shard, ShardWriter

RULES = ("", "empty", "short", "long", "letters", "repeated")
COPY_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Range:
    """A part of a file of tokens, in bytes."""

    file: str
    first: int
    last: int


def judged(work: Slice, rules: FilterSpec, folder: Path, *, near: bool) -> dict[str, int]:
    """Judges the documents of a slice; how many there are and how many break each rule."""
    file = folder / f"{work.number:06}.judged.npz"
    if not file.exists():
        signer = Signer() if near else None
        found = [judge.seen(document, signer) for document in documents_of(work)]
        rule = np.array([RULES.index(judge.refused(each, rules)) for each in found], np.uint8)
        parts = {
            "rule": rule,
            "passages": np.array([each.passages for each in found], np.int64),
            "digest": np.frombuffer(b"".join(e.digest for e in found), "<u8").reshape(-1, 2),
        }
        if near:
            rows = [each.signature for each in found]
            parts["signature"] = np.stack(rows) if rows else np.zeros((0, minhash.FUNCTIONS), "u4")
            parts["bands"] = minhash.bands(parts["signature"])
        _save(file, parts)
    with np.load(file) as held:
        rule = held["rule"]
    return {name or "kept": int((rule == i).sum()) for i, name in enumerate(RULES)}


def _save(file: Path, parts: dict[str, np.ndarray]) -> None:
    unfinished = file.with_name(f".{file.name}.{np.random.default_rng().integers(2**60)}")
    with unfinished.open("wb") as out:
        np.savez(out, **parts)
    unfinished.replace(file)


def column(folder: Path, slices: int, name: str) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Of each slice: its number, the documents that its rules keep, and their rows of a table."""
    for number in range(slices):
        with np.load(folder / f"{number:06}.judged.npz") as held:
            kept = np.flatnonzero(held["rule"] == 0)
            yield number, kept, held[name][kept]


def same(folder: Path, slices: int, bucket: int, buckets: int) -> np.ndarray:
    """Documents [n, 2] (slice, place) whose words came before, of one bucket of digests."""
    places, digests = [], []
    for number, kept, rows in column(folder, slices, "digest"):
        mine = rows[:, 0] % np.uint64(buckets) == bucket
        places.append(_places(number, kept[mine]))
        digests.append(rows[mine])
    return np.concatenate(places)[_later(np.concatenate(digests))]


def _places(number: int, kept: np.ndarray) -> np.ndarray:
    return np.stack([np.full(len(kept), number, np.int64), kept.astype(np.int64)], axis=1)


def _later(keys: np.ndarray) -> np.ndarray:
    """Whether an equal row came before."""
    _, first = np.unique(keys, axis=0, return_index=True)
    later = np.ones(len(keys), bool)
    later[first] = False
    return later


def alike(folder: Path, slices: int, band: int, least: float) -> np.ndarray:
    """Pairs [n, 4] of documents that share a band and are estimated to be so similar."""
    places, keys = [], []
    for number, kept, rows in column(folder, slices, "bands"):
        places.append(_places(number, kept))
        keys.append(rows[:, band])
    place, key = np.concatenate(places), np.concatenate(keys)
    _, first, group = np.unique(key, return_index=True, return_inverse=True)
    leader = first[group]
    other = np.flatnonzero(leader != np.arange(len(key)))
    pairs = np.concatenate([place[leader[other]], place[other]], axis=1)
    close = _signatures(folder, pairs[:, :2]) == _signatures(folder, pairs[:, 2:])
    return pairs[close.mean(axis=1) >= least] if len(pairs) else pairs


def _signatures(folder: Path, places: np.ndarray) -> np.ndarray:
    rows = np.zeros((len(places), minhash.FUNCTIONS), np.uint32)
    for number in np.unique(places[:, 0]):
        mine = places[:, 0] == number
        with np.load(folder / f"{number:06}.judged.npz") as held:
            rows[mine] = held["signature"][places[mine, 1]]
    return rows


def kept(work: Slice, folder: Path) -> np.ndarray:
    """Which documents of a slice stay, once duplicates are known."""
    with np.load(folder / f"{work.number:06}.judged.npz") as held:
        stays = held["rule"] == 0
    with np.load(folder / "dropped.npz") as held:
        dropped = held["places"]
    stays[dropped[dropped[:, 0] == work.number, 1]] = False
    return stays


def counted(work: Slice, folder: Path) -> tuple[int, int]:
    """Documents and passages of a slice that stay."""
    stays = kept(work, folder)
    with np.load(folder / f"{work.number:06}.judged.npz") as held:
        return int(stays.sum()), int(held["passages"][stays].sum())


def texts_of(work: Slice, folder: Path) -> Iterator[Passage]:
    stays = kept(work, folder)
    for number, document in enumerate(documents_of(work)):
        for passage in document:
            if stays[number]:
                yield passage


def learned(slices: tuple[tuple[Slice, ...], ...], folder: Path, vocabulary: int) -> str:
    """The tokenizer of what stays, by source: as the trainer would learn it."""
    sources = [(p for work in each for p in texts_of(work, folder)) for each in slices]
    return tokens.learn_from(sources, vocabulary)


def written(
    work: Slice, first: int, text: str, vocabulary: int, kind: str, folder: Path
) -> tuple[int, int]:
    """Tokenises a slice whose first passage has this number; bytes to train on and held out."""
    done = folder / f"{work.number:06}.train", folder / f"{work.number:06}.held"
    if not all(each.exists() for each in done):
        tokenizer = tokens.load(text, vocabulary)
        tag = np.random.default_rng().integers(2**60)
        names = [each.with_name(f".{each.name}.{tag}") for each in done]
        with names[0].open("wb") as train, names[1].open("wb") as held:
            for out, numbers in tokenised(texts_of(work, folder), tokenizer, first):
                (held if out else train).write(np.asarray(numbers, KINDS[kind]).tobytes())
        for name, target in zip(names, done, strict=True):
            name.replace(target)
    return done[0].stat().st_size, done[1].stat().st_size


def assembled(file: str, ranges: tuple[Range, ...], folder: Path) -> Shard:
    """Joins ranges into a shard."""
    out = ShardWriter(folder, file, durable=True)
    for each in ranges:
        with Path(each.file).open("rb") as stream:
            stream.seek(each.first)
            left = each.last - each.first
            while left:
                data = stream.read(min(COPY_BYTES, left))
                if not data:
                    raise OSError(f"{each.file} is shorter than it was")
                out.write(data)
                left -= len(data)
    return out.close()
