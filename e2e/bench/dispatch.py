"""How long from a replica's readiness to the first request it gets? S4: p50 at most 20 ms, p99 at
most 100 ms.

Services sleep and are woken as in `wake`, and here are waited for. The clock starts as the API
server receives the kubelet's patch that makes the pod ready, by its audit log, and ends when the
model has the first request, by its own clock: the way through Triton is in it. Below zero: the
request was there before the patch, since the gateway asks replicas itself. The columns beside it
count from the EndpointSlice that then calls the pod ready.
"""

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from e2e import cluster
from e2e.bench.callers import Callers
from e2e.bench.idle_services import NoAuditLogError, asleep, place, put_to_sleep, stamp
from e2e.bench.readiness import Readiness
from e2e.bench.timestamp_model import SPEC, NoStampError, seed_stamper, stamp_in
from e2e.bench.wake import MODELS, P50_TARGET, P99_TARGET, create_others, delete_others
from e2e.cluster import Cluster
from e2e.journeys import audit
from e2e.kube import Kube, NotInTimeError

RESULT = Path(__file__).resolve().parents[2] / "build/bench/dispatch.json"
ROUNDS = {"idle": 12, "300 at once": 4, "8 models at once": 4, "after 20 others": 4}
ANSWER_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Wake:
    """One wake: when its first request was sent, and when the model had one."""

    model: str
    asked: float
    came: float


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Seconds from the pod's Ready patch, and from the EndpointSlice that followed, to the model."""

    model: str
    from_ready: float
    from_slice: float


@dataclass(slots=True)
class Case:
    name: str
    wakes: list[Wake] = field(default_factory=list)
    found: list[Dispatch] = field(default_factory=list)

    def percentile(self, share: float, of: str = "from_ready") -> float:
        ordered = sorted(getattr(each, of) for each in self.found)
        return (
            ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("inf")
        )

    @property
    def met(self) -> bool:
        quick = self.percentile(0.5) <= P50_TARGET and self.percentile(0.99) <= P99_TARGET
        return quick and len(self.found) == len(self.wakes)


async def one_round(
    here: Cluster, kube: Kube, namespace: str, case: Case, models: list[str]
) -> None:
    """Ask, wait for all answers, and put all to sleep again."""
    others = case.name == "after 20 others"
    ready = await Callers.ready(here, 300 if case.name == "300 at once" else len(models))
    if others:
        await asyncio.to_thread(create_others, kube, namespace)
    sent = ready.ask(models, 1)
    came = [stamp_in(answer) for answer in await ready.answers(ANSWER_SECONDS)]
    ready.leave()
    for number, model in enumerate(models):
        case.wakes.append(Wake(model, sent[number], min(came[number :: len(models)])))
    await asyncio.to_thread(asleep, kube, namespace, MODELS, 40)
    if others:
        await asyncio.to_thread(delete_others, kube, namespace)


def judge(cases: list[Case], here: Cluster, namespace: str, seen: Mapping[str, float]) -> None:
    """For each wake its pod's Ready patch, and the EndpointSlice that was written next. ``seen``:
    when each pod was seen to be ready, which is a moment after the patch."""
    pods: dict[str, list[float]] = {}
    slices: dict[str, list[float]] = {}
    for one in audit.read(here):
        if one.namespace != namespace or one.code not in {200, 201}:
            continue
        if one.resource == "pods/status" and one.user.startswith("system:node:"):
            pods.setdefault(one.name, []).append(stamp(one.at))
        if one.resource == "endpointslices":
            slices.setdefault(one.name, []).append(stamp(one.at))
    for case in cases:
        for wake in case.wakes:
            prefix = f"{wake.model}-serve-"
            mine = {name: at for name, at in seen.items() if name.startswith(prefix)}
            # The pod of this wake is the first to be ready after the request.
            pod = min((n for n, at in mine.items() if at > wake.asked), key=mine.get, default="")
            ready = max((at for at in pods.get(pod, ()) if at <= mine[pod]), default=None)
            told = [at for n, each in slices.items() if n.startswith(prefix) for at in each]
            slice_ = min((at for at in told if ready is not None and at >= ready), default=None)
            if ready is not None and slice_ is not None:
                case.found.append(Dispatch(wake.model, wake.came - ready, wake.came - slice_))


async def measured(here: Cluster, kube: Kube, namespace: str) -> list[Case]:
    cases = {name: Case(name) for name in ROUNDS}
    with Readiness(kube, namespace) as readiness:
        for name, rounds in ROUNDS.items():
            print(f"{name}: {rounds} rounds", flush=True)
            for number in range(rounds):
                models = MODELS if name == "8 models at once" else [MODELS[number % len(MODELS)]]
                await one_round(here, kube, namespace, cases[name], models)
    judge(list(cases.values()), here, namespace, readiness.seen)
    return list(cases.values())


def report(cases: list[Case]) -> None:
    print(
        f"{'case':<18}{'wakes':>6}{'p50 ms':>9}{'p99 ms':>9}{'of the slice: p50':>19}{'p99':>7}  met"
    )
    for case in cases:
        told = [
            case.percentile(s, of) * 1000
            for of in ("from_ready", "from_slice")
            for s in (0.5, 0.99)
        ]
        print(
            f"{case.name:<18}{len(case.wakes):>6}{told[0]:>9.1f}{told[1]:>9.1f}{told[2]:>19.1f}"
            f"{told[3]:>7.1f}  {'yes' if case.met else 'no'}"
        )


def main() -> int:
    """0 when it was measured, met or not; 1 when it could not be."""
    try:
        here = cluster.read()
        kube = Kube(here.kubeconfig)
        with place(here, kube, seed_stamper) as namespace:
            put_to_sleep(kube, namespace, MODELS, **SPEC)
            cases = asyncio.run(measured(here, kube, namespace))
    except (
        FileNotFoundError,
        NoAuditLogError,
        NotInTimeError,
        NoStampError,
        EOFError,
        TimeoutError,
    ) as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 1
    report(cases)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    targets = {"p50_seconds": P50_TARGET, "p99_seconds": P99_TARGET}
    told = [asdict(case) | {"met": case.met} for case in cases]
    RESULT.write_text(json.dumps({"targets": targets, "cases": told}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
