"""The loss of a resized run on that of an unresized one, and how far they are apart."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt


def plot(
    path: Path,
    steady: Mapping[int, float],
    resized: Mapping[int, float],
    marks: Sequence[tuple[int, str]],
) -> None:
    """Write a PNG. ``marks`` are steps at which the size changed, and how."""
    steps = sorted(steady)
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(8, 5), sharex=True, height_ratios=(3, 2), squeeze=True
    )
    above.plot(steps, [steady[s] for s in steps], color="0.6", linewidth=4, label="2 workers")
    above.plot(steps, [resized[s] for s in steps], color="tab:blue", linewidth=1.2, label="resized")
    above.set_ylabel("training loss, nats per token")
    above.legend(frameon=False)
    apart = [abs(resized[s] / steady[s] - 1) for s in steps]
    below.semilogy(steps, [max(each, 1e-10) for each in apart], color="tab:blue", linewidth=1.0)
    below.axhline(1e-3, color="tab:red", linewidth=1.0, linestyle="--", label="promised: 0.001")
    below.set_ylabel("relative difference")
    below.set_xlabel("step")
    below.legend(frameon=False, loc="lower right")
    for row in (above, below):
        for step, _ in marks:
            row.axvline(step + 0.5, color="0.4", linewidth=0.8, linestyle=":")
    for number, (step, words) in enumerate(marks):
        # One below the other: resizes can be few steps apart.
        at = max(steady.values()) - 0.2 * number
        above.annotate(words, (step + 2, at), fontsize="small", va="top")
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)
