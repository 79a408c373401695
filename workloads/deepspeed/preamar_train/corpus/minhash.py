"""Nearly equal documents by MinHash and banding (Broder 1997; Leskovec et al., ch. 3).

112 hash functions in 14 bands of 8: a pair of similarity s shares a band with probability
1 - (1 - s^8)^14, which is 0.92 at 0.8. What shares a band is then judged by the share of equal
hashes, which estimates the Jaccard similarity of the shingles (standard error below 0.05).
Own arithmetic, so that the same text gives the same corpus with every version of every library.
"""

import hashlib

import numpy as np

SHINGLE = 5
BANDS, ROWS = 14, 8
FUNCTIONS = BANDS * ROWS
_CHUNK = 4096
_KNOWN = 500_000
_NONE = np.iinfo(np.uint32).max
_PRIME = np.uint64(0x100000001B3)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _constants() -> tuple[np.ndarray, np.ndarray]:
    data = hashlib.shake_256(b"preamar minhash 1").digest(16 * FUNCTIONS)
    numbers = np.frombuffer(data, dtype="<u8")
    return numbers[:FUNCTIONS] | np.uint64(1), numbers[FUNCTIONS:]


class Signer:
    """Signs documents: 112 numbers of 32 bits each."""

    def __init__(self) -> None:
        self._a, self._b = _constants()
        self._known: dict[str, int] = {}

    def empty(self) -> np.ndarray:
        return np.full(FUNCTIONS, _NONE, dtype=np.uint32)

    def add(self, signature: np.ndarray, words: list[str]) -> np.ndarray:
        """The signature with the shingles of these words; short texts are one shingle."""
        if not words:
            return signature
        each = np.fromiter((self._number(word) for word in words), np.uint64, len(words))
        count = max(1, len(words) - SHINGLE + 1)
        with np.errstate(over="ignore"):
            shingles = np.zeros(count, np.uint64)
            for offset in range(min(SHINGLE, len(words))):
                shingles = shingles * _PRIME + each[offset : offset + count]
            shingles = np.unique((shingles ^ (shingles >> np.uint64(29))) * _GOLDEN)
            for start in range(0, len(shingles), _CHUNK):
                part = shingles[start : start + _CHUNK, None]
                # Multiply-shift: the high half of a·x + b modulo 2^64.
                hashes = ((part * self._a + self._b) >> np.uint64(32)).astype(np.uint32)
                signature = np.minimum(signature, hashes.min(axis=0))
        return signature

    def _number(self, word: str) -> int:
        found = self._known.get(word)
        if found is None:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            digest = hashlib.blake2b(word.encode(errors="surrogatepass"), digest_size=8).digest()
            found = self._known[word] = int.from_bytes(digest, "little")
        return found


def bands(signatures: np.ndarray) -> np.ndarray:
    """The key of each band [documents, 14] of signatures [documents, 112]."""
    keys = np.zeros((len(signatures), BANDS), np.uint64)
    with np.errstate(over="ignore"):
        for row in range(ROWS):
            part = signatures[:, row::ROWS].astype(np.uint64)
            keys = (keys ^ part) * _PRIME + (keys >> np.uint64(31))
    return keys


def similarity(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The estimated similarity of signatures, row by row."""
    return (one == other).mean(axis=-1)
