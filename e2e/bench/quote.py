"""Is a quote right? S10: memory and time predicted against measured, within 15 %.

Trains inside the trainer's image, without a cluster. Memory: the highest resident set of a rank
against the estimate and the libraries, at shapes, ZeRO stages and sizes of which some were never
fitted. Time: one job is measured, and its speed is taken over to the others by ``quote``, as
``preamar quote --like`` does. The fastest step counts, because a shared machine slows all others.
"""

import json
import math
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from e2e.clusters import buildah, images
from preamar.api.training import TrainingJob
from preamar.core.capacity.hardware import SHIPPED
from preamar.core.training.backends.deepspeed.memory import LIBRARIES
from preamar.core.training.backends.sizing_problem import SizingProblem
from preamar.core.training.backends.work import flops
from preamar.core.training.planner.quote import Speed, quote
from preamar.core.training.planner.sizes import split

RESULT = Path(__file__).resolve().parents[2] / "build/bench/quote.json"
TARGET = 0.15
STEPS = 4
SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Case:
    """A job to measure. ``fitted``: its memory was used to make the formula."""

    name: str
    preset: str
    ranks: int
    zero: int = 1
    batch: int = 4
    precision: str = "FP32"
    parameters: dict[str, int] = field(default_factory=dict)
    fitted: bool = False

    def job(self) -> TrainingJob:
        """As a user would write it."""
        return TrainingJob.model_validate(
            {
                "metadata": {"name": "bench", "namespace": "bench"},
                "spec": {
                    "model": {"preset": self.preset, "parameters": self.parameters},
                    "parallelism": {"zeroStage": self.zero},
                    "batch": {"global": self.batch},
                    "workers": {"replicas": self.ranks, "max": max(4, self.ranks)},
                    "accelerator": {"type": "CPU"},
                    "data": {"sources": [{"name": "text", "uri": "pvc://data/text"}]},
                    "checkpoint": {"uri": "pvc://data/out"},
                    "precision": self.precision,
                    "steps": STEPS,
                },
            }
        )


DEEPER = {
    "layers": 4,
    "hidden": 384,
    "heads": 6,
    "kvHeads": 2,
    "intermediate": 1024,
    "sequence": 256,
}
CASES = (
    Case("gpt-tiny, 1 rank", "gpt-tiny", 1, batch=8, fitted=True),
    Case("gpt-tiny, 2 ranks", "gpt-tiny", 2, batch=16, fitted=True),
    Case("gpt-small, 1 rank", "gpt-small", 1, batch=2, fitted=True),
    Case("gpt-small, 2 ranks", "gpt-small", 2, batch=4),
    Case("gpt-small, 2 ranks, ZeRO 3", "gpt-small", 2, zero=3, batch=2, fitted=True),
    Case("384 wide, 1 rank", "gpt-small", 1, batch=4, parameters=DEEPER),
    Case("384 wide, 2 ranks, ZeRO 2", "gpt-small", 2, zero=2, batch=8, parameters=DEEPER),
    Case("384 wide, 2 ranks, ZeRO 0", "gpt-small", 2, zero=0, batch=8, parameters=DEEPER),
)
LIKE = "384 wide, 1 rank"
"""The job whose speed is measured first."""

INNER = """
set -e
mount --make-rprivate /
mount --bind {root} {root}
mount -t proc proc {root}/proc
mount --rbind /dev {root}/dev
mount -t tmpfs -o mode=1777 tmpfs {root}/tmp
mount -t tmpfs -o mode=1777,size=512m tmpfs {root}/dev/shm
mount --bind {shared} {root}/mnt/data
exec chroot --userspec=1000:1000 {root} env -i {env} /opt/venv/bin/python /mnt/data/{program} {rank}
"""
PROGRAM = """
import json, os, sys, time
rank = int(sys.argv[1])
order = json.loads(os.environ["PREAMAR_TRAIN"])
import torch, deepspeed
from contextlib import nullcontext
from preamar_train.start.deepspeed_config import config_of
from preamar_train.ranks.gang import join
from preamar_train.models.model import Decoder
from preamar_train.models.presets import shape_of
from preamar_train.request import parse
request = parse(os.environ["PREAMAR_TRAIN"], int(os.environ["WORLD_SIZE"]))
shape = shape_of(request.preset, request.parameters)
config = config_of(request, shape, gpu=False)
gang = join(gpu=False)
torch.manual_seed(0)
with deepspeed.zero.Init(config_dict_or_path=config) if request.zero_stage == 3 else nullcontext():
    model = Decoder(shape)
engine, *_ = deepspeed.initialize(model=model, model_parameters=model.parameters(), config=config, dist_init_required=False)
times = []
for _ in range(request.steps):
    gang.barrier()
    began = time.perf_counter()
    for _ in range(request.accumulation):
        batch = torch.randint(0, shape.vocabulary, (request.micro_batch, shape.sequence + 1))
        loss = engine(batch[:, :-1], batch[:, 1:])
        engine.backward(loss.mean())
        engine.step()
    gang.barrier()
    times.append(time.perf_counter() - began)
peak = next(int(l.split()[1]) * 1024 for l in open("/proc/self/status") if l.startswith("VmHWM"))
with open(f"/mnt/data/result-{rank}.json", "w") as out:
    json.dump({"peak": peak, "times": times}, out)
os._exit(0)
"""


@dataclass(frozen=True, slots=True)
class Line:
    """One case: bytes and seconds of a step, as predicted and as measured."""

    name: str
    fitted: bool
    memory: int
    memory_measured: int
    memory_error: float
    beyond_libraries_error: float
    seconds: float | None
    seconds_measured: float
    seconds_error: float | None


def measure(case: Case, root: Path, environment: Sequence[str]) -> tuple[int, float]:
    """The largest peak of a rank in bytes, and the fastest step in seconds."""
    job = case.job()
    part = split(SizingProblem.of(job.spec), case.ranks)
    assert part is not None, case.name
    order = {
        "job": "bench/bench", "uid": "u", "attempt": 1,
        "model": {"preset": case.preset, "parameters": case.parameters},
        "parallelism": {"zeroStage": case.zero},
        "batch": {"global": case.batch, "micro": part.micro, "accumulation": part.accumulation},
        "data": {"sources": [{"name": "text", "path": "/mnt/data/text"}]},
        "checkpoint": {"path": "/mnt/data/out", "uri": "pvc://data/out", "everySteps": 100, "keep": 1},
        "steps": STEPS, "precision": case.precision,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        shared = Path(folder)
        shared.chmod(0o777)
        (shared / "program.py").write_text(PROGRAM)
        (shared / "program.py").chmod(0o644)
        ranks = [_start(rank, case, order, root, environment, shared) for rank in range(case.ranks)]
        try:
            ends = [rank.wait(SECONDS) for rank in ranks]
        finally:
            for rank in ranks:
                rank.kill()
        if any(ends):
            raise RuntimeError(
                f"{case.name}: a rank ended with {ends}: {(shared / 'log-0').read_text()[-800:]}"
            )
        told = [
            json.loads((shared / f"result-{rank}.json").read_text()) for rank in range(case.ranks)
        ]
    return max(each["peak"] for each in told), min(told[0]["times"])


def _start(
    rank: int,
    case: Case,
    order: dict[str, Any],
    root: Path,
    environment: Sequence[str],
    shared: Path,
) -> subprocess.Popen[bytes]:
    # Each rank is a pod of its own, with its own /dev/shm: DeepSpeed's shared memory is for ranks of
    # one pod and would wait for ever for neighbours that it cannot see.
    words = {
        "RANK": rank, "LOCAL_RANK": 0, "WORLD_SIZE": case.ranks, "LOCAL_SIZE": 1,
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 29_400 + os.getpid() % 500, "OMP_NUM_THREADS": 1,
        "GLOO_SOCKET_IFNAME": "lo", "DS_ACCELERATOR": "cpu", "PREAMAR_TRAIN": json.dumps(order),
    }  # fmt: skip
    env = shlex.join([*environment, *(f"{key}={value}" for key, value in words.items())])
    inner = INNER.format(
        root=shlex.quote(str(root)),
        shared=shlex.quote(str(shared)),
        env=env,
        rank=rank,
        program="program.py",
    )
    with (shared / f"log-{rank}").open("wb") as log:
        return subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", inner],
            stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip


def lines(measured: dict[str, tuple[int, float]]) -> list[Line]:
    """Each case against its quote; the speed is that of ``LIKE``."""
    like = next(case for case in CASES if case.name == LIKE)
    shape = SizingProblem.of(like.job().spec).shape
    assert shape is not None
    rate = like.batch / measured[LIKE][1] * flops(shape)  # FLOP/s of one rank
    found = []
    for case in CASES:
        if case.name not in measured:
            continue
        job = case.job()
        own = SizingProblem.of(job.spec).shape
        assert own is not None
        speed = Speed(rate / flops(own), 1)
        offer = quote(job.spec, case.ranks, SHIPPED, speed)
        assert offer is not None
        assert offer.memory is not None
        assert offer.seconds is not None
        peak, seconds = measured[case.name]
        predicted = offer.memory + LIBRARIES
        step = offer.seconds / STEPS
        found.append(
            Line(
                case.name,
                case.fitted,
                predicted,
                peak,
                predicted / peak - 1,
                offer.memory / (peak - LIBRARIES) - 1 if peak > LIBRARIES else math.nan,
                None if case.name == LIKE else step,
                seconds,
                None if case.name == LIKE else step / seconds - 1,
            )
        )
    return found


def table(found: Sequence[Line]) -> str:
    """As people read it."""
    head = f"{'':28} {'memory MB':>10} {'measured':>9} {'error':>7} {'step s':>8} {'measured':>9} {'error':>7}"
    rows = []
    for line in found:
        step = "-" if line.seconds is None else f"{line.seconds:.2f}"
        error = "like" if line.seconds_error is None else f"{line.seconds_error:+.0%}"
        mark = " (fitted)" if line.fitted else ""
        rows.append(
            f"{line.name + mark:38.38}{line.memory / 1e6:>10.0f} {line.memory_measured / 1e6:>9.0f} "
            f"{line.memory_error:>+7.1%} {step:>8} {line.seconds_measured:>9.2f} {error:>7}"
        )
    return "\n".join([head.replace(" " * 28, " " * 38, 1), *rows])


def main() -> int:
    began = time.monotonic()
    image = images.ensure("deepspeed")
    container = buildah.run("from", "--pull-never", image, timeout=120).strip()
    measured = {}
    try:
        config = json.loads(buildah.run("inspect", container, timeout=60))
        root = Path(buildah.run("mount", container, timeout=60).strip())
        for case in CASES:
            print(f"{case.name} …", flush=True)
            measured[case.name] = measure(case, root, config["OCIv1"]["config"]["Env"])
    finally:
        buildah.run("rm", container, timeout=60)
    found = lines(measured)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    memory = max(abs(line.memory_error) for line in found)
    seconds = max(abs(line.seconds_error) for line in found if line.seconds_error is not None)
    met = {"memory": memory <= TARGET, "time": seconds <= TARGET}
    RESULT.write_text(
        json.dumps(
            {"target": TARGET, "met": met, "cases": [asdict(line) for line in found]}, indent=2
        )
    )
    print(table(found))
    print(
        f"worst: memory {memory:.0%} ({_verdict(memory)}), time {seconds:.0%} ({_verdict(seconds)}); {time.monotonic() - began:.0f} s, written to {RESULT}"
    )
    return 0


def _verdict(error: float) -> str:
    return "met" if error <= TARGET else f"missed: {TARGET:.0%} was promised"


if __name__ == "__main__":
    sys.exit(main())
