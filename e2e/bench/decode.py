"""What do shared calls bring to streams of text? The same model served by the real Triton twice, once with
all streams in one call of the graph and once with a call for each, in turns in one run.

Callers are on this machine and take part of its processors. A stream's prompt is read before its
first token; the time between tokens is that between two pieces of text of one stream.
"""

import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from e2e.bench.subjects import ROOT
from e2e.bench.trained import trained

RESULT = ROOT / "build/bench/decode.json"
STREAMS = (1, 4, 8, 16)
TOKENS = 96
ROUNDS = 4
WAYS = ("together", "alone")
PROMPT = (
    "This command shows the commits that are in one branch and not in the other, newest first. "
)


def measure(running: Any, model: str, streams: int) -> tuple[float, list[float], list[float]]:
    """Tokens per second of all streams, seconds between pieces, seconds to the first piece."""
    gaps: list[float] = []
    firsts: list[float] = []
    tokens: list[int] = []

    def run(number: int) -> None:
        prompt = PROMPT[: 8 + (number * 23) % (len(PROMPT) - 8)]
        last = time.perf_counter()
        told = 0
        own: list[float] = []
        for event in running.stream(model, prompt=prompt, max_tokens=TOKENS, temperature=0):
            now = time.perf_counter()
            own.append(now - last)
            last, told = now, event["OUTPUT_TOKENS"]
        firsts.append(own[0])
        gaps.extend(own[1:])
        tokens.append(told)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(streams)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    seconds = time.perf_counter() - begun
    if len(tokens) != streams:
        raise RuntimeError(f"{streams - len(tokens)} of {streams} streams did not end")
    return sum(tokens) / seconds, gaps, firsts


def compared(running: Any, streams: int) -> dict[str, Any]:
    """Both ways in turns, each first every other time."""
    found: dict[str, list[Any]] = {way: [] for way in WAYS}
    for turn in range(ROUNDS):
        for way in WAYS if turn % 2 else reversed(WAYS):
            found[way].append(measure(running, way, streams))
    told: dict[str, Any] = {"streams": streams}
    for way, rounds in found.items():
        gaps = [gap for _, each, _ in rounds for gap in each]
        told[way] = {
            "tokensPerSecond": float(np.median([rate for rate, _, _ in rounds])),
            "p50": float(np.median(gaps)),
            "p99": float(np.percentile(gaps, 99)),
            "first": float(np.median([one for _, _, each in rounds for one in each])),
        }
    return told


def build(folder: Path) -> Path:
    """The repository with both; they differ in one parameter."""
    from running import build_here

    model, _, _ = trained()
    for way in WAYS:
        order = {"name": way, "source": str(model), "task": "Generate"}
        done = build_here(order | {"batching": {"maxBatchSize": max(STREAMS)}}, folder / way)
        if done.code:
            raise RuntimeError(done.log)
        (folder / "models").mkdir(exist_ok=True)
        (folder / way / way).rename(folder / "models" / way)
    file = folder / "models/alone/config.pbtxt"
    text = file.read_text()
    if text.count('"yes"') != 1:
        raise RuntimeError("the trained model's graph does not let streams share a call")
    file.write_text(text.replace('"yes"', '"no"'))
    return folder / "models"


def main() -> int:
    """Measure, print and write the table; 1 if shared calls are slower for several streams."""
    from running import serve

    with tempfile.TemporaryDirectory(prefix="preamar-bench-") as name:
        folder = Path(name)
        with serve(build(folder), folder, OMP_NUM_THREADS=str(os.cpu_count())) as running:
            running.wait(list(WAYS))
            compared(running, 1)  # thrown away
            rows = [compared(running, streams) for streams in STREAMS]
    print("| streams | tokens/s together, alone | ratio | p50 ms | p99 ms | first ms |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        both = [row[way] for way in WAYS]
        ratio = both[0]["tokensPerSecond"] / both[1]["tokensPerSecond"]
        row["ratio"] = ratio
        cells = [", ".join(f"{each[key] * 1e3:.1f}" for each in both) for key in ("p50", "p99", "first")]  # fmt: skip
        rates = ", ".join(f"{each['tokensPerSecond']:.0f}" for each in both)
        print(f"| {row['streams']} | {rates} | {ratio:.2f} | {' | '.join(cells)} |")
    load = os.getloadavg()[0]
    print(f"load {load:.1f} on {os.cpu_count()} cores")
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps({"rows": rows, "load": load}, indent=1) + "\n")
    return 0 if all(row["ratio"] > 1 for row in rows if row["streams"] > 1) else 1


if __name__ == "__main__":
    sys.exit(main())
