"""Which sample comes n-th.

A pure function of the seed, the sources and n: neither the number of ranks nor restarts change
it, so a job that resumes at sample n goes on with exactly the samples it has not seen. Each
source is walked in a new order every epoch. Blocks of 1,000 samples hold each source by its
weight, to the sample. The shuffles are our own arithmetic: a library's may change with its
version, and a resume must not.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

BLOCK = 1000
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def _seed(*words: object) -> np.uint64:
    digest = hashlib.sha256("\0".join(map(str, words)).encode()).digest()
    return np.uint64(int.from_bytes(digest[:8], "little"))


def shuffled(count: int, *words: object) -> np.ndarray:
    """A permutation of range(count) that the words name (sorting by SplitMix64 keys)."""
    with np.errstate(over="ignore"):
        keys = _seed(*words) + (np.arange(count, dtype=np.uint64) + np.uint64(1)) * _GOLDEN
        keys = (keys ^ (keys >> np.uint64(30))) * _MIX_1
        keys = (keys ^ (keys >> np.uint64(27))) * _MIX_2
        keys ^= keys >> np.uint64(31)
    return np.argsort(keys, kind="stable")


def quotas(weights: Mapping[str, Decimal]) -> dict[str, int]:
    """How many of each 1,000 samples come from each source: largest remainders, none left out."""
    total = sum(weights.values())
    exact = {name: weight * BLOCK / total for name, weight in weights.items()}
    result = {name: max(1, int(share)) for name, share in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (result[name] - exact[name], name))
    for step in range(abs(BLOCK - sum(result.values()))):
        if sum(result.values()) < BLOCK:
            result[by_remainder[step % len(by_remainder)]] += 1
        else:  # sources that were raised to 1 took from the largest
            result[max(result, key=lambda name: (result[name], name))] -= 1
    return result


@dataclass(frozen=True, slots=True)
class Pick:
    source: str
    sample: int
    epoch: int


class SampleOrder:
    """The endless sequence of samples."""

    def __init__(self, seed: int, weights: Mapping[str, Decimal], sizes: Mapping[str, int]) -> None:
        self._seed = seed
        self._names = sorted(weights)
        self._sizes = dict(sizes)
        self._quotas = quotas(weights)
        self._block: tuple[int, np.ndarray, np.ndarray] | None = None
        self._epochs: dict[str, tuple[int, np.ndarray]] = {}

    def __getitem__(self, index: int) -> Pick:
        number, place = divmod(index, BLOCK)
        sources, ordinals = self._block_of(number)
        name = self._names[int(sources[place])]
        epoch, position = divmod(
            number * self._quotas[name] + int(ordinals[place]), self._sizes[name]
        )
        return Pick(name, int(self._epoch_of(name, epoch)[position]), epoch)

    def _block_of(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        if self._block is None or self._block[0] != number:
            plain = np.repeat(
                np.arange(len(self._names)), [self._quotas[name] for name in self._names]
            )
            sources = plain[shuffled(BLOCK, "block", self._seed, number)]
            ordinals = np.zeros(BLOCK, dtype=np.int64)
            for source in range(len(self._names)):
                mine = sources == source
                ordinals[mine] = np.arange(int(mine.sum()))
            self._block = (number, sources, ordinals)
        return self._block[1], self._block[2]

    def _epoch_of(self, name: str, epoch: int) -> np.ndarray:
        held = self._epochs.get(name)
        if held is None or held[0] != epoch:
            held = (epoch, shuffled(self._sizes[name], "epoch", self._seed, name, epoch))
            self._epochs[name] = held
        return held[1]


def of_rank(
    step: int, turn: int, rank: int, *, world_size: int, micro: int, accumulation: int
) -> range:
    """The samples that a rank takes in one micro-batch; together the ranks take each one once."""
    first = step * micro * accumulation * world_size + (turn * world_size + rank) * micro
    return range(first, first + micro)
