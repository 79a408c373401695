"""What a sample is: `sequence + 1` tokens, cut from the packed text of one source.

Neighbours share one token, so that each token is predicted exactly once an epoch. The tokens are
written once a pod, as files that its ranks map; text larger than memory is no problem.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from preamar_train.data.documents import HELD_OUT_EVERY, Passage, is_held_out, no_data, passages
from preamar_train.data.tokens import END_ID
from preamar_train.request import Source

_BATCH = 512  # passages that are tokenised at once, about 2 MiB of text


@dataclass(frozen=True, slots=True)
class Packed:
    """One source: `train` to learn from, `held` kept aside, both one line of tokens."""

    name: str
    train: np.ndarray
    held: np.ndarray


@dataclass(frozen=True, slots=True)
class Corpus:
    sources: tuple[Packed, ...]
    sequence: int
    digest: str

    def sizes(self) -> dict[str, int]:
        """Training samples of each source."""
        return {each.name: samples_in(len(each.train), self.sequence) for each in self.sources}

    def sample(self, source: str, index: int) -> np.ndarray:
        """The `sequence + 1` tokens of a training sample."""
        (packed,) = (each for each in self.sources if each.name == source)
        first = index * self.sequence
        return np.asarray(packed.train[first : first + self.sequence + 1], dtype=np.int64)

    def held_out(self, most: int) -> np.ndarray:
        """At most this many held-out samples [n, sequence + 1], spread over all sources."""
        rows = [
            np.asarray(each.held[i * self.sequence : (i + 1) * self.sequence + 1], dtype=np.int64)
            for each in self.sources
            for i in range(samples_in(len(each.held), self.sequence))
        ]
        stride = max(1, -(-len(rows) // most))
        return np.stack(rows[::stride])


def samples_in(tokens: int, sequence: int) -> int:
    return max(0, (tokens - 1) // sequence)


def pack(
    sources: Iterable[Source], tokenizer: Tokenizer, vocabulary: int, sequence: int, folder: Path
) -> None:
    """Tokenises all sources into `folder`; `opened` reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    kind = np.uint16 if vocabulary <= 2**16 else np.uint32
    digests, held_out = {}, 0
    for number, source in enumerate(sources):
        digest = hashlib.sha256()
        with (
            (folder / f"{number}.train").open("wb") as train,
            (folder / f"{number}.held").open("wb") as held,
        ):
            for out, tokens in _tokens(source, tokenizer):
                data = np.asarray(tokens, dtype=kind).tobytes()
                digest.update(b"h" if out else b"t")
                digest.update(data)
                (held if out else train).write(data)
            _enough(source.name, train.tell() // kind().itemsize, sequence)
            held_out += samples_in(held.tell() // kind().itemsize, sequence)
        digests[source.name] = digest.hexdigest()
    if not held_out:
        raise no_data(
            f"The data sources have too little text: of each, every {HELD_OUT_EVERY}th passage of "
            f"about 4 KiB is held out to judge the model, and that gave no sample of {sequence + 1} tokens."
        )
    whole = hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()
    words = {"digest": f"sha256:{whole}", "kind": kind.__name__, "names": list(digests)}
    (folder / "corpus.json").write_text(json.dumps(words))


def opened(folder: Path, sequence: int) -> Corpus:
    words = json.loads((folder / "corpus.json").read_text())
    sources = tuple(
        Packed(
            name,
            _mapped(folder / f"{number}.train", words["kind"]),
            _mapped(folder / f"{number}.held", words["kind"]),
        )
        for number, name in enumerate(words["names"])
    )
    return Corpus(sources, sequence, words["digest"])


def _mapped(file: Path, kind: str) -> np.ndarray:
    if not file.stat().st_size:  # nothing cannot be mapped
        return np.zeros(0, dtype=kind)
    return np.memmap(file, dtype=kind, mode="r")


def _tokens(source: Source, tokenizer: Tokenizer) -> Iterator[tuple[bool, list[int]]]:
    every = enumerate(passages(source.name, Path(source.path)))
    while batch := list(islice(every, _BATCH)):
        encoded = tokenizer.encode_batch([passage.text for _, passage in batch])
        for (index, passage), each in zip(batch, encoded, strict=True):
            yield is_held_out(index), [*each.ids, *_end(passage)]


def _end(passage: Passage) -> tuple[int, ...]:
    return (END_ID,) if passage.ends else ()


def _enough(name: str, train: int, sequence: int) -> None:
    if train <= sequence:
        raise no_data(
            f"Data source {name} has too little text: {train} tokens to train on, "
            f"where one sample needs {sequence + 1}."
        )
