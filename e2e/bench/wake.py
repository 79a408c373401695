"""How long from a first request to the write of a size? S4: p50 at most 20 ms, p99 at most 100 ms,
one write per wake.

Four cases: a sleeping service, 300 requests for one at once, eight services at once, and one right
after twenty others were created. The clock starts as the request's first byte is sent, on a
connection that stands, and ends as the API server receives the write, by its audit log.
"""

import asyncio
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from e2e import cluster
from e2e.bench.callers import Callers
from e2e.bench.idle_services import (
    KIND,
    NoAuditLogError,
    Write,
    a_sleeper,
    asleep,
    place,
    put_to_sleep,
    writes,
)
from e2e.cluster import Cluster
from e2e.kube import OURS, Kube, NotInTimeError

RESULT = Path(__file__).resolve().parents[2] / "build/bench/wake.json"
MODELS = [f"wake-{number}" for number in range(8)]
OTHERS = [f"other-{number}" for number in range(20)]
NOWHERE = {"nodeSelector": {"preamar.dev/bench": "nowhere"}}
ROUNDS = {"idle": 16, "300 at once": 5, "8 models at once": 4, "after 20 others": 4}
P50_TARGET, P99_TARGET = 0.020, 0.100
TOKENS = 600
SETTLE_SECONDS = 1.0


@dataclass(slots=True)
class Wake:
    """One wake: ``seconds`` until the first write, and how many writes there were."""

    model: str
    asked: float
    until: float
    seconds: float | None = None
    writes: int = 0


@dataclass(slots=True)
class Case:
    """The wakes of one case."""

    name: str
    wakes: list[Wake] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        found = sorted(wake.seconds for wake in self.wakes if wake.seconds is not None)
        return found[min(len(found) - 1, int(share * len(found)))] if found else float("inf")

    @property
    def most_writes(self) -> int:
        return max((wake.writes for wake in self.wakes), default=0)

    @property
    def missed(self) -> int:
        return sum(wake.seconds is None for wake in self.wakes)

    @property
    def met(self) -> bool:
        quick = self.percentile(0.5) <= P50_TARGET and self.percentile(0.99) <= P99_TARGET
        return quick and self.most_writes == 1 and not self.missed


async def one_round(
    here: Cluster, kube: Kube, namespace: str, case: Case, models: list[str], callers: int
) -> None:
    """Ask, wait until the sizes are written, hang up, and put all to sleep again."""
    ready = await Callers.ready(here, callers)
    if case.name == "after 20 others":
        await asyncio.to_thread(create_others, kube, namespace)
    sent = ready.ask(models, TOKENS)
    first = dict(zip(models, sent, strict=False))
    await asyncio.sleep(SETTLE_SECONDS)
    ready.leave()
    case.wakes += [Wake(model, first[model], time.time()) for model in models]
    await asyncio.to_thread(asleep, kube, namespace, MODELS, 40)
    if case.name == "after 20 others":
        await asyncio.to_thread(delete_others, kube, namespace)


def create_others(kube: Kube, namespace: str) -> None:
    """Twenty services whose pods no node takes: the operator has its work, the machine has not."""
    others = [a_sleeper(name, placement=NOWHERE) for name in OTHERS]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda one: kube.apply(one, namespace), others))


def delete_others(kube: Kube, namespace: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: kube.delete(OURS, KIND, name, namespace), OTHERS))
    time.sleep(SETTLE_SECONDS)


async def measured(here: Cluster, kube: Kube, namespace: str) -> list[Case]:
    """All cases, and what the audit log says of each wake."""
    cases = {name: Case(name) for name in ROUNDS}
    for name, rounds in ROUNDS.items():
        print(f"{name}: {rounds} rounds", flush=True)
        for number in range(rounds):
            eight = name == "8 models at once"
            models = MODELS if eight else [MODELS[number % len(MODELS)]]
            callers = 300 if name == "300 at once" else len(models)
            await one_round(here, kube, namespace, cases[name], models, callers)
    judge(list(cases.values()), writes(here, namespace))
    return list(cases.values())


def judge(cases: list[Case], written: list[Write]) -> None:
    """Find each wake's writes: those between its request and the moment it was hung up."""
    for case in cases:
        for wake in case.wakes:
            mine = sorted(
                write.at
                for write in written
                if write.name == wake.model and wake.asked <= write.at <= wake.until
            )
            wake.writes = len(mine)
            wake.seconds = mine[0] - wake.asked if mine else None


def report(cases: list[Case]) -> None:
    print(f"{'case':<18}{'wakes':>6}{'p50 ms':>9}{'p99 ms':>9}{'writes':>8}{'missed':>8}  met")
    for case in cases:
        print(
            f"{case.name:<18}{len(case.wakes):>6}{case.percentile(0.5) * 1000:>9.1f}"
            f"{case.percentile(0.99) * 1000:>9.1f}{case.most_writes:>8}{case.missed:>8}"
            f"  {'yes' if case.met else 'no'}"
        )


def main() -> int:
    """0 when it was measured, met or not; 1 when it could not be."""
    try:
        here = cluster.read()
        kube = Kube(here.kubeconfig)
        with place(here, kube) as namespace:
            put_to_sleep(kube, namespace, MODELS)
            cases = asyncio.run(measured(here, kube, namespace))
    except (FileNotFoundError, NoAuditLogError, NotInTimeError) as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 1
    report(cases)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    told = [
        {
            "case": case.name,
            "p50_seconds": round(case.percentile(0.5), 6),
            "p99_seconds": round(case.percentile(0.99), 6),
            "most_writes": case.most_writes,
            "missed": case.missed,
            "met": case.met,
            "wakes": [asdict(wake) for wake in case.wakes],
        }
        for case in cases
    ]
    targets = {"p50_seconds": P50_TARGET, "p99_seconds": P99_TARGET, "writes": 1}
    RESULT.write_text(json.dumps({"targets": targets, "cases": told}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
