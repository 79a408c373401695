"""How does a quote look on a screen? A row for each size, with its error."""

from collections.abc import Sequence

from preamar.core.training.admission.affordable import in_time
from preamar.core.training.planner.quote import Estimate

KWH = 3.6e6  # joules
UNKNOWN = "unknown"


def table(name: str, quotes: Sequence[Estimate], *, wide: bool) -> str:
    """The lines for one job; where the time is of published figures, each step's parts if wide."""
    if not quotes:
        return ""
    head = ["RANKS", "MEMORY/RANK", "TIME", "COST", "ENERGY", "ON", "BASIS"]
    rows = [_row(each) for each in quotes]
    if wide:
        head += ["STEP", "COMPUTE", "BUBBLE", "LAYERS", "STAGES", "GRADIENTS", "OPTIMIZER"]
        rows = [row + _parts(each) for row, each in zip(rows, quotes, strict=True)]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
             for row in [head, *rows]]  # fmt: skip
    return "\n".join([name, *lines, ""])


def _row(found: Estimate) -> list[str]:
    memory = f"{found.memory / 1e9:.2f} GB" if found.memory is not None else UNKNOWN
    if found.memory is not None and found.memory_percent is not None:
        memory += f" ± {found.memory_percent} %"
    error = f" ± {found.percent} %"
    time = in_time(found.seconds) + error if found.seconds is not None else UNKNOWN
    cost = f"{found.cost:,.2f} {found.currency}{error}" if found.cost is not None else UNKNOWN
    energy = f"≤ {found.joules / KWH:,.1f} kWh" if found.joules is not None else UNKNOWN
    on = found.device or UNKNOWN
    return [str(found.ranks), memory, time, cost, energy, on, str(found.basis or UNKNOWN)]


def _parts(found: Estimate) -> list[str]:
    step = found.step
    if step is None:
        return [UNKNOWN] * 7
    parts = (step.compute, step.bubble, step.layers, step.stages, step.gradients, step.optimizer)
    return [f"{step.seconds:.3g} s", *(f"{part / step.seconds:.0%}" for part in parts)]
