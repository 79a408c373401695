"""How fast is a corpus prepared, and what does a second worker bring?

The real phases on Dask with one and with two worker processes of one thread each, on made prose:
filters, MinHash, tokenizer, tokens, shards. The ratio is bounded by what runs once (the tokenizer
is learned by one worker) and by the cores that are free: both are shown.
"""

import json
import os
import random
import shutil
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULT = ROOT / "build/bench/prepare.json"
MEGABYTES = int(os.environ.get("PREAMAR_BENCH_MEGABYTES", "48"))
VOCABULARY = 4096


def text(file: Path, megabytes: int) -> int:
    """Made prose whose words are as frequent as Zipf says; its size in bytes."""
    chance = random.Random(1)
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    words = ["".join(chance.choices(letters, range(26, 0, -1), k=chance.randint(2, 9)))
             for _ in range(20_000)]  # fmt: skip
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    size = 0
    with file.open("w") as out:
        while size < megabytes * 10**6:
            told = " ".join(chance.choices(words, weights, k=chance.randint(200, 1500)))
            size += out.write(json.dumps({"text": told}) + "\n")
    return size


def measured(file: Path, target: Path, workers: int) -> dict[str, Any]:
    """Seconds of each phase and of all, with so many workers."""
    from dask import config
    from distributed import Client, LocalCluster
    from preamar_train.corpus.drive import drive
    from preamar_train.corpus.order import FilterSpec, PrepareSpec
    from preamar_train.corpus.run import SETTINGS, everywhere
    from preamar_train.request import DataSource

    source = DataSource("books", str(file), Decimal(1))
    filters = FilterSpec(least=100, letters=0.5, repeated=0.5)
    order = PrepareSpec((source,), "gpt-tiny", {}, filters, "MinHash", 0.8, target, "pvc://c", "k")
    phases: dict[str, float] = {}
    config.set(SETTINGS)
    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None,
                     memory_limit=0) as cluster,
        Client(cluster) as client,
    ):  # fmt: skip
        each = everywhere(client)

        def timed(phase: str, act: Any, jobs: Any) -> list[Any]:
            begun = time.monotonic()
            found = each(phase, act, jobs)
            phases[phase] = phases.get(phase, 0.0) + time.monotonic() - begun
            return found

        begun = time.monotonic()
        done = drive(order, VOCABULARY, timed)
        seconds = time.monotonic() - begun
    return {"workers": workers, "seconds": seconds, "phases": phases, "digest": done.digest}


def main() -> int:
    """Measure, print and write the table; 1 if two workers wrote other bytes than one."""
    packages = [str(ROOT / "workloads/deepspeed"), str(ROOT / "workloads/common")]
    sys.path[:0] = packages
    os.environ |= {"RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    os.environ["PYTHONPATH"] = os.pathsep.join(packages)
    folder = Path(tempfile.mkdtemp(prefix="preamar-prepare-"))
    try:
        size = text(folder / "text.jsonl", MEGABYTES)
        found = [measured(folder / "text.jsonl", folder / f"out{n}", n) for n in (1, 2)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for each in found:
        each["megabytesPerSecond"] = size / 1e6 / each["seconds"]
        told = ", ".join(f"{phase} {spent:.1f} s" for phase, spent in each["phases"].items())
        print(
            f"{each['workers']} worker(s): {each['seconds']:.1f} s, "
            f"{each['megabytesPerSecond']:.2f} MB/s ({told})"
        )
    one, two = found
    parallel = [
        sum(s for phase, s in each["phases"].items() if phase != "learning") for each in found
    ]
    ratios = {
        "ratio": one["seconds"] / two["seconds"],
        "ratioWithoutLearning": parallel[0] / parallel[1],
    }
    print(
        f"two workers are {ratios['ratio']:.2f} times as fast, {ratios['ratioWithoutLearning']:.2f} "
        f"times without learning the tokenizer; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps({"megabytes": size / 1e6, "runs": found, **ratios}, indent=1))
    return 0 if one["digest"] == two["digest"] else 1


if __name__ == "__main__":
    sys.exit(main())
