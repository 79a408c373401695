"""At which sizes can this job run, and how is a step split there?

The global batch never changes, so a number of ranks is valid when it divides the batch (and, with
a micro batch of the user's, the batch in micro batches). Gradient accumulation makes up the rest.
"""

from typing import NamedTuple

from preamar.api.training import TrainingJobSpec

LARGEST_MICRO = 8
"""The largest micro batch that is chosen unasked: it bounds memory, and costs little speed."""
LISTED = 64


class Split(NamedTuple):
    """How one step is split: micro x accumulation x ranks = global batch."""

    micro: int
    accumulation: int


def split(total: int, micro: int, ranks: int) -> Split | None:
    """The split of ``total`` samples over ``ranks``; ``micro`` 0 is chosen. None if there is none."""
    if ranks < 1 or total % ranks:
        return None
    each = total // ranks
    if micro:
        return None if each % micro else Split(micro, each // micro)
    best = max(size for size in range(1, LARGEST_MICRO + 1) if each % size == 0)
    return Split(best, each // best)


def valid_workers(spec: TrainingJobSpec) -> tuple[int, ...]:
    """The numbers of workers from min to max at which the global batch can be kept."""
    workers, batch = spec.workers, spec.batch
    return tuple(
        n
        for n in range(workers.min, workers.max + 1)
        if split(batch.global_size, batch.micro, n * workers.ranks_per_worker)
    )


def valid_world_sizes(spec: TrainingJobSpec) -> tuple[int, ...]:
    """The same in ranks, for status, the smallest first."""
    ranks = spec.workers.ranks_per_worker
    return tuple(n * ranks for n in valid_workers(spec))[:LISTED]


def cannot_split(spec: TrainingJobSpec) -> str:
    """Why the wanted size cannot be had, with the nearest that can; empty if it can."""
    workers, batch = spec.workers, spec.batch
    ranks = workers.replicas * workers.ranks_per_worker
    if split(batch.global_size, batch.micro, ranks):
        return ""
    micro = f" in micro batches of {batch.micro}" if batch.micro else ""
    problem = (
        f"A global batch of {batch.global_size} cannot be split evenly over {ranks} ranks{micro}."
    )
    valid = valid_workers(spec)
    if not valid:
        unit = (batch.micro or 1) * ranks
        nearest = max(unit, round(batch.global_size / unit) * unit)
        return f"{problem} No size from workers.min to workers.max works; batch.global {nearest} would."
    closest = sorted(valid, key=lambda n: (abs(n - workers.replicas), n))[:2]
    choices = " or ".join(str(n) for n in sorted(closest))
    return f"{problem} Set workers.replicas to {choices}."
