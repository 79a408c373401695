"""What a sample is: `sequence + 1` tokens, cut from the packed text of one source.

Neighbours share one token, so that each token is predicted exactly once an epoch. The tokens were
written in advance by the prepare Job, or are written once a pod at its start; text larger than
memory is no problem, since only what a sample needs is read.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from preamar_train.data import index as indexes
from preamar_train.data.documents import HELD_OUT_EVERY, Passage, is_held_out, no_data, passages
from preamar_train.data.index import Index, SourceIndex
from preamar_train.data.reading import Blocks, Folder, ShardStore, TokenStream
from preamar_train.data.shards import Shard, StreamWriter
from preamar_train.data.tokens import END_ID
from preamar_train.request import DataSource

BATCH = 512  # passages that are tokenised at once, about 2 MiB of text


@dataclass(frozen=True, slots=True)
class Packed:
    """One source: `train` to learn from, `held` kept aside, both one line of tokens."""

    name: str
    train: TokenStream
    held: TokenStream


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
        return self._row(packed.train, index)

    def held_out(self, most: int) -> np.ndarray:
        """At most this many held-out samples [n, sequence + 1], spread over all sources."""
        counts = [samples_in(len(each.held), self.sequence) for each in self.sources]
        stride = max(1, -(-sum(counts) // most))
        rows, before = [], 0
        for each, count in zip(self.sources, counts, strict=True):
            rows += [self._row(each.held, i) for i in range(-before % stride, count, stride)]
            before += count
        return np.stack(rows)

    def _row(self, tokens: TokenStream, index: int) -> np.ndarray:
        first = index * self.sequence
        return tokens[first : first + self.sequence + 1].astype(np.int64)


def samples_in(tokens: int, sequence: int) -> int:
    return max(0, (tokens - 1) // sequence)


def kind_of(vocabulary: int) -> str:
    return "uint16" if vocabulary <= 2**16 else "uint32"


def pack(
    sources: Iterable[DataSource], tokenizer: Tokenizer, vocabulary: int, folder: Path
) -> None:
    """Tokenises all sources into `folder`; `opened` reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    kind = kind_of(vocabulary)
    found = tuple(_packed(source, tokenizer, kind, folder) for source in sources)
    text = tokenizer.to_str()
    (folder / indexes.TOKENIZER).write_text(text)
    words = hashlib.sha256(text.encode()).hexdigest()
    (folder / indexes.FILE).write_text(Index(kind, vocabulary, words, found).encode())


def _packed(source: DataSource, tokenizer: Tokenizer, kind: str, folder: Path) -> SourceIndex:
    number = np.dtype(indexes.KINDS[kind])
    train, held = (StreamWriter(folder, source.name, part) for part in indexes.PARTS)
    for out, tokens in tokenised(passages(source.name, Path(source.path)), tokenizer):
        (held if out else train).write(np.asarray(tokens, dtype=number).tobytes())
    return SourceIndex(source.name, train.close(), held.close())


def tokenised(
    texts: Iterable[Passage], tokenizer: Tokenizer, first: int = 0
) -> Iterator[tuple[bool, list[int]]]:
    """The tokens of passages, and whether they are held out; the first has this number."""
    every = enumerate(texts, start=first)
    while batch := list(islice(every, BATCH)):
        encoded = tokenizer.encode_batch([passage.text for _, passage in batch])
        for (index, passage), each in zip(batch, encoded, strict=True):
            yield is_held_out(index), [*each.ids, *_end(passage)]


def _end(passage: Passage) -> tuple[int, ...]:
    return (END_ID,) if passage.ends else ()


def opened(place: ShardStore | Path, sequence: int) -> Corpus:
    """The corpus there; DataError if it is damaged or too small for one sample of each source."""
    place = Folder(place) if isinstance(place, Path) else place
    index = indexes.decode(place.whole(indexes.FILE, indexes.LARGEST), indexes.FILE)
    blocks = Blocks(place)

    def stream(shards: tuple[Shard, ...]) -> TokenStream:
        return TokenStream(blocks, shards, index.kind)

    corpus = Corpus(
        tuple(Packed(s.name, stream(s.train), stream(s.held)) for s in index.sources),
        sequence,
        index.digest,
    )
    _enough(corpus)
    return corpus


def _enough(corpus: Corpus) -> None:
    need = corpus.sequence + 1
    for each in corpus.sources:
        if len(each.train) < need:
            raise no_data(
                f"Data source {each.name} has too little text: {len(each.train)} tokens to train on, "
                f"where one sample needs {need}."
            )
    if not any(samples_in(len(each.held), corpus.sequence) for each in corpus.sources):
        raise no_data(
            f"The data sources have too little text: of each, every {HELD_OUT_EVERY}th passage of "
            f"about 4 KiB is held out to judge the model, and that gave no sample of {need} tokens."
        )
