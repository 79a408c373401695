"""How long from a step of load to all the replicas it needs? S2: at most 2 s from its first request.

From nothing to 32 requests in flight on a sleeping service with target 4 and at most 8 replicas:
the clock starts as the first request is sent and ends as the API server receives the write of 8.
"""

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from e2e import cluster
from e2e.bench.callers import Callers
from e2e.bench.idle_services import (
    KIND,
    NoAuditLogError,
    a_sleeper,
    asleep,
    loaded,
    place,
    size,
    writes,
)
from e2e.cluster import Cluster
from e2e.kube import OURS, Kube, NotInTimeError

RESULT = Path(__file__).resolve().parents[2] / "build/bench/step.json"
MODEL, REPLICAS, TARGET, IN_FLIGHT = "step", 8, 4, 32
ROUNDS, TOKENS = 6, 600
TARGET_SECONDS = 2.0
LONGEST_SECONDS = 10.0


@dataclass(slots=True)
class Step:
    """One step. ``seconds`` to the write of the last size; None where it was not reached."""

    asked: float
    until: float
    reached: int
    seconds: float | None = None
    first_seconds: float | None = None
    writes: int = 0


async def one_step(here: Cluster, kube: Kube, namespace: str) -> Step:
    """Ask at once, wait until the size is reached, hang up, and put it to sleep."""
    ready = await Callers.ready(here, IN_FLIGHT)
    asked = ready.ask([MODEL], TOKENS)[0]
    reached = 0
    while reached < REPLICAS and time.time() < asked + LONGEST_SECONDS:
        await asyncio.sleep(0.1)
        found = await asyncio.to_thread(kube.get, OURS, KIND, MODEL, namespace)
        reached = size(found or {"spec": {}})
    ended = time.time()
    ready.leave()
    await asyncio.to_thread(asleep, kube, namespace, [MODEL], 60)
    return Step(asked, ended, reached)


async def measured(here: Cluster, kube: Kube, namespace: str) -> list[Step]:
    steps = [await one_step(here, kube, namespace) for _ in range(ROUNDS)]
    written = writes(here, namespace)
    for step in steps:
        mine = sorted(at for _, at in written if step.asked <= at <= step.until)
        step.writes = len(mine)
        if mine:
            step.first_seconds = mine[0] - step.asked
            step.seconds = mine[-1] - step.asked if step.reached == REPLICAS else None
    return steps


def main() -> int:
    """0 when it was measured, met or not; 1 when it could not be."""
    scaling = {"max": REPLICAS, "target": {"signal": "InFlight", "value": str(TARGET)}}
    try:
        here = cluster.read()
        kube = Kube(here.kubeconfig)
        with place(here, kube) as namespace:
            kube.apply(a_sleeper(MODEL, scaling=scaling), namespace)
            loaded(kube, namespace, [MODEL])
            asleep(kube, namespace, [MODEL], 60)
            steps = asyncio.run(measured(here, kube, namespace))
    except (FileNotFoundError, NoAuditLogError, NotInTimeError) as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 1
    print(f"{'step':>4}{'first write s':>15}{f'write of {REPLICAS} s':>15}{'writes':>8}{'size':>6}")
    for number, step in enumerate(steps):
        first, last = (
            f"{s:.3f}" if s is not None else "-" for s in (step.first_seconds, step.seconds)
        )
        print(f"{number:>4}{first:>15}{last:>15}{step.writes:>8}{step.reached:>6}")
    met = all(step.seconds is not None and step.seconds <= TARGET_SECONDS for step in steps)
    print(f"every step within {TARGET_SECONDS:g} s: {'yes' if met else 'no'}")
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    told = {"target_seconds": TARGET_SECONDS, "met": met, "steps": [asdict(step) for step in steps]}
    RESULT.write_text(json.dumps(told, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
