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

from e2e.bench.subjects import ROOT, Subject, cross_entropy, subjects

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
    entropy: float | None = None
    """Nats a token on text set aside, of a language model."""
    served: bool | None = None
    said: str = ""
    """Whether the real model server streams it, and what it says."""
    source: str = ""
    kept: int = 0
    layers: int = 0


def measure(subject: Subject, folder: Path) -> list[Row]:
    """FP32 first, then every variant."""
    from preamar_model.build import command as build
    from preamar_model.files import source, tensors
    from preamar_model.optimize import command, samples
    from preamar_model.optimize.measure import compare
    from preamar_model.passes import optimize_spec
    from preamar_model.passes.session import Session
    from preamar_model.refusal import Refusal

    rows = [Row(subject.name, "FP32", source=str(subject.source))]
    order: dict[str, Any] = {
        "name": "m",
        "source": str(subject.source),
        "task": subject.task,
        "seconds": SEARCH_SECONDS,
    }
    if subject.calibration:
        order["calibration"] = str(subject.calibration)
    first = optimize_spec.read(
        _environment(order | {"target": str(folder / "0"), "precision": "INT8"})
    )
    build.build(first.order(), folder / "built")
    files = [folder / "built/m/1/model.onnx"]
    for name, more in VARIANTS:
        print(f"{subject.name}: {name} …", flush=True)
        target = folder / str(len(rows))
        row = Row(subject.name, name)
        rows.append(row)
        try:
            asked = optimize_spec.read(
                _environment(order | more | {"target": str(target), "tolerance": 1})
            )
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
            if subject.task == "Generate":
                row.entropy = cross_entropy(answers[at], given.held_out)
            row.loss = subject.loss(answers[0], answers[at], given.held_out)
    if subject.task == "Generate":
        _serve(made, files, folder / "served")
    return rows


def _serve(made: list[Row], files: list[Path], folder: Path) -> None:
    """Each artefact as the model server serves it: a stream of text from the real Triton."""
    from running import build_here, serve

    (folder / "models").mkdir(parents=True)
    for at, path in enumerate(files):
        # The first is what a build made of the source, so the source itself is built again.
        source = str(path.parent) if at else made[0].source
        done = build_here(
            {"name": f"m{at}", "source": source, "task": "Generate"}, folder / str(at)
        )
        if done.code:
            raise RuntimeError(done.log)
        (folder / f"{at}/m{at}").rename(folder / f"models/m{at}")
    with serve(folder / "models", folder) as running:
        running.wait([f"m{at}" for at in range(len(files))])
        for at, row in enumerate(made):
            stream = running.stream(f"m{at}", prompt="This command", max_tokens=16, temperature=0)
            events = list(stream)
            row.served = bool(events) and events[-1].get("FINISH_REASON") in {"stop", "length"}
            row.said = "".join(event.get("TEXT", "") for event in events)
            if not row.served:
                raise RuntimeError(f"{row.variant} is not served: {events[-1:]}")
            print(f"served {row.variant}: {row.said!r}", flush=True)


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
        if row.entropy is not None:
            loss = f" ({row.entropy:.4f} nats, {row.loss:+.2%})"
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
    from preamar_model.passes import key

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
