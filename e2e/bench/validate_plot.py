"""Replicas over time, real against simulated, over what was asked for: one row a run."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

from e2e.bench.replicas import at_moment

mpl.use("Agg")
from matplotlib import pyplot as plt

SMOOTH = 3


def plot(path: Path, arrivals: Sequence[float], wanted: Any, pairs: Sequence[Any]) -> None:
    """Write a PNG. Demand is in replicas: work that arrives in a second over what one can do."""
    seconds = range(int(arrivals[-1]) + 1)
    came = Counter(int(at) for at in arrivals)
    each = wanted.service / wanted.slots
    work = [
        sum(came[s] for s in range(now - SMOOTH, now + SMOOTH + 1)) / (2 * SMOOTH + 1) * each
        for now in seconds
    ]
    figure, rows = plt.subplots(
        len(pairs), 1, figsize=(8, 1.9 * len(pairs) + 0.5), sharex=True, sharey=True, squeeze=False
    )
    for number, ((real, simulated), row) in enumerate(zip(pairs, rows[:, 0], strict=True), 1):
        row.fill_between(seconds, work, color="0.88", label="demand, in replicas")
        for steps, colour, name in (
            (real.held, "tab:blue", "real"),
            (simulated.held, "tab:orange", "simulated"),
        ):
            moments = [0.0, *(at for at, _ in steps if 0 < at < seconds[-1]), seconds[-1]]
            counts = [at_moment(steps, at) for at in moments]
            row.step(moments, counts, where="post", color=colour, linewidth=1.2, label=name)
        row.set_ylabel(f"run {number}: replicas")
        row.set_xlim(0, seconds[-1])
    rows[0, 0].legend(loc="upper left", fontsize="small", ncols=3, frameon=False)
    rows[-1, 0].set_xlabel("seconds since the first request")
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)
