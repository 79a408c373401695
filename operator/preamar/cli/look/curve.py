"""What does a loss curve look like? Each step once, with a mark where ranks or attempts changed."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from preamar.cli.look.row import LossPoint

COLOURS = ("#0b6e99", "#d1495b", "#2f8f4e", "#e0952b", "#777777")
SMOOTHED = 50
"""Steps from which on a mean over a fiftieth of them is drawn over the noise."""


def draw(out: Path, curves: Mapping[str, Sequence[LossPoint]]) -> None:
    """Write the picture. Raises ``OSError``."""
    figure = Figure(figsize=(9.0, 4.5), layout="constrained")
    axes = figure.subplots()
    for number, (name, rows) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        steps, losses = [row.step for row in rows], [row.loss for row in rows]
        noisy = len(rows) >= SMOOTHED
        axes.plot(steps, losses, color=colour, lw=0.6 if noisy else 1.3, alpha=0.35 if noisy else 1.0,
                  label=None if noisy else name)  # fmt: skip
        if noisy:
            width = max(3, len(rows) // SMOOTHED)
            sums = [0.0, *accumulate(losses)]
            means = [(b - a) / width for a, b in zip(sums, sums[width:], strict=False)]
            middle = steps[(width - 1) // 2 :][: len(means)]  # a mean of the past would lag
            axes.plot(middle, means, color=colour, lw=1.5, label=name)
        _changes(axes, rows, colour)
    axes.set_xlabel("step", fontsize=9)
    axes.set_ylabel("training loss, nats per token", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(visible=True, lw=0.3, color="#d9dee3")
    axes.legend(fontsize=8, loc="upper right")
    figure.savefig(out, dpi=110)


def _changes(axes: Axes, rows: Sequence[LossPoint], colour: str) -> None:
    before = rows[0]
    for row in rows[1:]:
        if (row.ranks, row.attempt) != (before.ranks, before.attempt):
            axes.axvline(row.step, color=colour, lw=0.8, ls=":")
            words = (
                f"{before.ranks} → {row.ranks} ranks" if row.ranks != before.ranks else "restart"
            )
            axes.annotate(words, (row.step, 0.98), xycoords=("data", "axes fraction"), fontsize=7,
                          color=colour, rotation=90, va="top", ha="right")  # fmt: skip
        before = row
