"""What does optimisation bring on this machine's CPU? S8: INT8 at 1.5 times the throughput of FP32
or more, where the processor has VNNI, at no more than 1 % of task loss.

Each artefact is made by the command that a pod runs. Then all of a model are timed in turns in one
process on one thread. Rows marked "any error" were published without a tolerance, to
show what the gate keeps away and what it would have brought.
"""

import json
import math
import sys
import tempfile
import time
import zlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from e2e.bench.subjects import ROOT, Subject, subjects

RESULT = ROOT / "build/bench/optimize.json"
FASTER = 1.5
LOSS = 0.01
SECONDS = 5.0
SEARCH_SECONDS = 60
"""For each search for layers to keep; the command itself may take 600."""
TIGHT, LOOSE = 0.01, math.inf
VARIANTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("FP16", {"precision": "FP16", "tolerance": TIGHT}),
    ("BF16", {"precision": "BF16", "tolerance": TIGHT}),
    ("INT8", {"precision": "INT8", "tolerance": TIGHT}),
    ("INT8, any error", {"precision": "INT8", "tolerance": LOOSE}),
    ("Unstructured 0.5, any error", {"sparsity": {"type": "Unstructured", "ratio": "0.5"}, "tolerance": LOOSE}),
    ("TwoFour, any error", {"sparsity": {"type": "TwoFour", "ratio": "0.5"}, "tolerance": LOOSE}),
    ("Structured 0.25, any error", {"sparsity": {"type": "Structured", "ratio": "0.25"}, "tolerance": LOOSE}),
)  # fmt: skip


@dataclass(slots=True)
class Row:
    """Bytes, seconds and rows per second; ratios against FP32 of the same run."""

    model: str
    variant: str
    refused: str = ""
    bytes: int = 0
    packed: int = 0
    p50: float = 0.0
    p99: float = 0.0
    throughput: float = 0.0
    latency_ratio: float = 0.0
    throughput_ratio: float = 0.0
    error: float = 0.0
    loss: float | None = None
    kept: int = 0
    layers: int = 0


def measure(subject: Subject, folder: Path) -> list[Row]:
    """FP32 first, then every variant."""
    from preamar_model import build, source, tensors
    from preamar_model.optimize import command, samples, wish
    from preamar_model.optimize.measure import compare
    from preamar_model.optimize.session import Session
    from preamar_model.refusal import Refusal

    rows = [Row(subject.name, "FP32")]
    order: dict[str, Any] = {
        "name": "m",
        "source": str(subject.source),
        "task": subject.task,
        "seconds": SEARCH_SECONDS,
    }
    if subject.calibration:
        order["calibration"] = str(subject.calibration)
    first = wish.read(_environment(order | {"target": str(folder / "0"), "precision": "INT8"}))
    build.build(first.order(), folder / "built")
    files = [folder / "built/m/1/model.onnx"]
    for name, more in VARIANTS:
        print(f"{subject.name}: {name} …", flush=True)
        target = folder / str(len(rows))
        row = Row(subject.name, name)
        rows.append(row)
        try:
            asked = wish.read(_environment(order | more | {"target": str(target), "tolerance": 1}))
            # An order may ask for 1 at most, and pruned models can be worse than that.
            told: Any = command.optimize(replace(asked, tolerance=more["tolerance"]))
        except Refusal as refusal:
            row.refused = refusal.message
            continue
        row.error, row.kept, row.layers = float(told["error"]), len(told["layersKept"]), told["layers"]  # fmt: skip
        files.append(target / "model.onnx")
    made = [row for row in rows if not row.refused]
    import onnx

    signature = tensors.signature(onnx.load(str(files[0]), load_external_data=False))
    given = samples.collect(first, source.find(str(subject.source)), signature, files[0].parent)
    sessions = [Session(str(path)) for path in files]
    speeds = compare(sessions, given.one, given.many, SECONDS * len(sessions) / 2)
    answers = [[session(feed) for feed in given.held_out] for session in sessions] if subject.loss else None  # fmt: skip
    for at, (row, speed, path) in enumerate(zip(made, speeds, files, strict=True)):
        content = b"".join(p.read_bytes() for p in sorted(path.parent.glob("model.*")) if p.suffix != ".py")  # fmt: skip
        row.bytes, row.packed = len(content), len(zlib.compress(content, 1))
        row.p50, row.p99, row.throughput = speed.p50, speed.p99, speed.throughput
        row.latency_ratio = speeds[0].p50 / speed.p50
        row.throughput_ratio = speed.throughput / speeds[0].throughput
        if answers is not None and subject.loss is not None:
            row.loss = subject.loss(answers[0], answers[at])
    return rows


def _environment(order: dict[str, Any]) -> dict[str, str]:
    return {"PREAMAR_OPTIMIZE": json.dumps(order)}


def table(rows: list[Row]) -> str:
    """As people read it, in Markdown."""
    lines = [
        "| model | | MB (packed) | p50 ms | p99 ms | per second | latency, throughput against FP32 | error | layers kept |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row.refused:
            lines.append(f"| {row.model} | {row.variant} | refused: {row.refused.partition(';')[0].partition('. ')[0]} | | | | | | |")  # fmt: skip
            continue
        loss = "" if row.loss is None else f" ({row.loss:.2%} task loss)"
        kept = f"{row.kept} of {row.layers}" if row.layers else ""
        lines.append(
            f"| {row.model} | {row.variant} | {row.bytes / 1e6:.1f} ({row.packed / 1e6:.1f}) | {row.p50 * 1e3:.2f} | "
            f"{row.p99 * 1e3:.2f} | {row.throughput:.1f} | {row.latency_ratio:.2f}, {row.throughput_ratio:.2f} | {row.error:.4f}{loss} | {kept} |"
        )
    return "\n".join(lines)


def verdicts(rows: list[Row]) -> dict[str, str]:
    """S8 for each model: its INT8 within the tolerance."""
    found = {}
    for row in rows:
        if row.variant == "INT8":
            loss = row.loss if row.loss is not None else row.error
            fast = not row.refused and row.throughput_ratio >= FASTER and loss <= LOSS
            told = row.refused or f"{row.throughput_ratio:.2f} times at {loss:.2%} loss"
            found[row.model] = f"{'met' if fast else 'missed'}: {told}"
    return found


def main() -> int:
    began = time.monotonic()
    import os

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    np.seterr(over="ignore")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="preamar-bench-") as name:
        folder = Path(name)
        found = subjects(folder / "subjects")
        for at, subject in enumerate(found):
            rows += measure(subject, folder / str(at))
    from preamar_model.optimize import key

    RESULT.parent.mkdir(parents=True, exist_ok=True)
    told = {
        "target": {"throughput": FASTER, "loss": LOSS},
        "verdicts": verdicts(rows),
        "machine": key.machine(),
        "tools": key.tools(),
        "rows": [asdict(row) for row in rows],
    }
    RESULT.write_text(json.dumps(told, indent=2) + "\n")
    print(table(rows))
    for model, verdict in verdicts(rows).items():
        print(f"S8, {model}: {verdict}")
    if len(found) < 3:
        print("a package is missing, so a model was left out: make setup", file=sys.stderr)
    print(f"{time.monotonic() - began:.0f} s, written to {RESULT}")
    return 0 if len(found) == 3 else 1


if __name__ == "__main__":
    sys.exit(main())
