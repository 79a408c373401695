"""Which documents are worth keeping, and which are the same?

The rules know no language: lengths, the share of letters, lines that repeat (as in Gopher, Rae et
al. 2021). Two documents are the same if their words are, case and white space aside; nearly the
same if so many of their shingles of five words are that MinHash (Broder 1997) says so.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from preamar_train.corpus.minhash import Signer
from preamar_train.corpus.order import FilterSpec
from preamar_train.data.documents import Passage

PIECE_CHARACTERS = 4 * 2**20
MOST_LINES = 1_000_000  # of a document that are remembered to find repeated ones


@dataclass(slots=True)
class DocumentCounts:
    """What was counted of one document. `digest` is of its words, 16 bytes."""

    passages: int = 0
    characters: int = 0
    letters: int = 0
    visible: int = 0
    lines: int = 0
    repeated: int = 0
    digest: bytes = b""
    signature: np.ndarray | None = None
    known: set[int] = field(default_factory=set)


def seen(passages: Iterable[Passage], signer: Signer | None) -> DocumentCounts:
    """Reads one document; of a long one, at most 4 Mi characters are in memory."""
    found, digest = DocumentCounts(), hashlib.blake2b(digest_size=16)
    signature = signer.empty() if signer else None
    held: list[str] = []
    size = 0

    def take() -> None:
        nonlocal signature
        text = "".join(held)
        words = text.casefold().split()
        if words:
            digest.update(" ".join(words).encode(errors="surrogatepass") + b" ")
        if signer and signature is not None:
            signature = signer.add(signature, words)
        found.visible += sum(map(len, words))
        found.letters += sum(map(str.isalpha, text))
        for line in text.splitlines():
            stripped = line.strip()
            if stripped:
                found.lines += 1
                key = hash(stripped)  # compared within this process only
                found.repeated += key in found.known
                if len(found.known) < MOST_LINES:
                    found.known.add(key)

    for passage in passages:
        found.passages += 1
        found.characters += len(passage.text)
        held.append(passage.text)
        size += len(passage.text)
        if size >= PIECE_CHARACTERS:
            take()
            held, size = [], 0
    take()
    found.digest, found.signature = digest.digest(), signature
    found.known = set()
    return found


def refused(found: DocumentCounts, rules: FilterSpec) -> str:
    """The rule that a document breaks; empty if it may stay."""
    if not found.passages:
        return "empty"
    if found.characters < rules.least:
        return "short"
    if rules.most and found.characters > rules.most:
        return "long"
    if found.letters < rules.letters * found.visible:
        return "letters"
    if found.repeated > rules.repeated * found.lines:
        return "repeated"
    return ""
