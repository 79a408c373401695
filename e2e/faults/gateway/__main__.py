"""``make faults-gateway``: does a request fail because something restarts, dies or is full?

R11: gateways and replicas are replaced in turn under load with live streams: none fails, none is cut.
R12: replicas die in the middle of answers: each stream that is cut says so, what had not begun is
answered by another, and replicas are asked at most 1.1 times as often. R13: three times the load that
fits: nine tenths of the best are still answered in time, refusals are quick and say when to come back,
and a tenant that asks little is hardly slower.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from e2e.faults.gateway.balancer import Balancer
from e2e.faults.gateway.load import Arrivals
from e2e.faults.money.lives import Gateways, a_key, clients
from e2e.faults.money.model import CountingModel

OUT = Path(__file__).resolve().parents[3] / "build/faults-gateway.json"
PLACES, WORK_SECONDS = 8, 0.1
CAPACITY = PLACES / WORK_SECONDS
SPEC = {
    "scaling": {"target": {"signal": "InFlight", "value": "4"}},
    "hold": {"maxRequests": 40, "maxSeconds": 5},
}


async def restarts(rounds: int, rate: float) -> dict[str, Any]:
    """R11: a gateway and a replica are replaced in each round."""
    home = Path(tempfile.mkdtemp(prefix="preamar-gateway-"))
    load = Arrivals(1)
    async with AsyncExitStack() as stack:
        models = [await stack.enter_async_context(CountingModel()) for _ in range(3)]
        ports = [model.port for model in models]
        known = dict.fromkeys(ports, "ready 0")
        gateways = [Gateways(home / name, *ports, propagation=5.0) for name in "ab"]
        key = a_key(home / "a")
        balancer = await stack.enter_async_context(Balancer())
        http = await stack.enter_async_context(clients(key, keep=True))
        for each in gateways:
            await each.begin(ledger=home / "a/ledger")
        balancer.ports = {each.port for each in gateways}
        await balancer.until_ready([each.port for each in gateways])
        going = True
        loading = asyncio.create_task(
            load.run(http, f"http://127.0.0.1:{balancer.port}", rate, lambda: going)
        )
        cut = 0
        for number in range(rounds):
            cut += await _replace_replica(models[number % 3], known, gateways, number + 1)
            await _replace_gateway(gateways[number % 2], balancer, home / "a/ledger")
            if number % 10 == 9:
                failed = sum(not each.whole for each in load.seen if each.number in load.took)
                print(
                    f"  {number + 1} rounds, {len(load.seen)} requests, {failed} failed", flush=True
                )
        going = False
        await loading
        for each in gateways:
            each.stop()
            each.ended()
            each.close()
    streams = [each for each in load.seen if each.streamed]
    failed = load.failed()
    return {
        "phase": "R11 restarts",
        "rounds": rounds,
        "requests": len(load.seen),
        "streams": len(streams),
        "failed": len([each for each in failed if not each.streamed]),
        "cutStreams": len([each for each in failed if each.streamed]),
        "statuses": {str(status): count for status, count in load.statuses.items()},
        "troubles": dict(Counter(each.trouble for each in failed)),
        "met": not failed,
    }


async def _replace_replica(
    model: CountingModel, known: dict[int, str], gateways: list[Gateways], number: int
) -> int:
    """As Kubernetes does: it leaves, what it has comes to its end, another takes its address."""

    def tell(state: str) -> None:
        known[model.port] = state
        for each in gateways:
            each.replicas(known)

    tell(f"leaving {number - 1}")
    await asyncio.sleep(0.6)
    await model.idle(30)
    cut = model.cut()
    tell(f"ready {number}")
    return cut


async def _replace_gateway(gateway: Gateways, balancer: Balancer, ledger: Path) -> None:
    old = gateway.port
    gateway.stop()
    status = await asyncio.to_thread(gateway.ended)
    balancer.ports.discard(old)
    if status:
        raise RuntimeError(f"a gateway ended with {status}")
    await gateway.begin(ledger=ledger)
    balancer.ports.add(gateway.port)
    await balancer.until_ready(sorted(balancer.ports))


async def deaths(seconds: float, rate: float) -> dict[str, Any]:
    """R12: one of three replicas dies every second, and is back after 0.3 s."""
    home = Path(tempfile.mkdtemp(prefix="preamar-gateway-"))
    load = Arrivals(2)
    async with AsyncExitStack() as stack:
        models = [await stack.enter_async_context(CountingModel()) for _ in range(3)]
        gateway = Gateways(home, *(model.port for model in models))
        http = await stack.enter_async_context(clients(a_key(home)))
        await gateway.begin()
        until = time.monotonic() + seconds
        loading = asyncio.create_task(
            load.run(
                http, f"http://127.0.0.1:{gateway.port}", rate, lambda: time.monotonic() < until
            )
        )
        cut = number = 0
        while time.monotonic() < until:
            await asyncio.sleep(0.67)
            victim = models[(number := number + 1) % 3]
            cut += await victim.die()
            await asyncio.sleep(0.3)
            await victim.listen()
        await loading
        gateway.stop()
        gateway.ended()
        gateway.close()
    asked = sum(model.asked.total() for model in models)
    begun = [each for each in load.failed() if each.streamed and each.at]
    silent = [each for each in begun if not each.error]
    others = [each for each in load.failed() if not (each.streamed and each.at)]
    return {
        "phase": "R12 deaths",
        "requests": len(load.seen),
        "killedAnswers": cut,
        "cutStreams": len(begun),
        "silentTruncations": len(silent),
        "notBegunAndFailed": len(others),
        "amplification": round(asked / len(load.seen), 4),
        "met": not silent and not others and asked <= 1.1 * len(load.seen),
    }


async def overload(seconds: float) -> dict[str, Any]:
    """R13: first what fits, then three times as much, and a tenant that asks little in both."""
    home = Path(tempfile.mkdtemp(prefix="preamar-gateway-"))
    told: dict[str, Any] = {"phase": "R13 overload", "capacity": CAPACITY}
    async with AsyncExitStack() as stack:
        model = await stack.enter_async_context(CountingModel(PLACES, WORK_SECONDS))
        gateway = Gateways(home, model.port, **SPEC)
        heavy = await stack.enter_async_context(clients(a_key(home), keep=True))
        light = await stack.enter_async_context(clients(a_key(home, "light"), keep=True))
        await gateway.begin()
        url = f"http://127.0.0.1:{gateway.port}"
        found = {}
        for name, rate in (("fits", 0.95 * CAPACITY), ("three times", 3 * CAPACITY)):
            many, few = Arrivals(3, every=0), Arrivals(4, every=0)
            until = time.monotonic() + seconds

            def going(until: float = until) -> bool:
                return time.monotonic() < until

            await asyncio.gather(
                many.run(heavy, url, rate, going, asked=1), few.run(light, url, 5.0, going, asked=1)
            )
            found[name] = (many, few)
            await asyncio.sleep(1)
        gateway.stop()
        gateway.ended()
        gateway.close()
    calm, full = (sum(each.whole for each in found[name][0].seen) for name in found)
    many, few = found["three times"]
    refused = [each for each in many.seen if each.status == 503]
    waits = sorted(many.took[each.number] for each in refused)
    before, during = (_median(found[name][1]) for name in found)
    told |= {
        "goodput": round(full / calm, 3),
        "refused": len(refused),
        "refusalP50Ms": round(statistics.median(waits) * 1e3, 1) if waits else None,
        "refusalP99Ms": round(waits[len(waits) * 99 // 100] * 1e3, 1) if waits else None,
        "withoutRetryAfter": sum(not each.retry_after for each in refused),
        "lightTenantSlower": round(during / before - 1, 3),
        "lightTenantFailed": len(few.failed()),
        "statuses": {str(status): count for status, count in many.statuses.items()},
    }
    quick = bool(waits) and statistics.median(waits) <= 0.010
    fair = told["lightTenantSlower"] <= 0.10 and not few.failed()
    told["met"] = full >= 0.9 * calm and quick and fair and not told["withoutRetryAfter"]
    return told


def _median(load: Arrivals) -> float:
    return statistics.median(load.took[each.number] for each in load.seen if each.whole)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--rate", type=float, default=40.0, help="requests a second")
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="of R12, and of each half of R13"
    )
    parser.add_argument("--phases", default="R11,R12,R13")
    given = parser.parse_args()
    ways: dict[str, Callable[[], Any]] = {
        "R11": lambda: restarts(given.rounds, given.rate),
        "R12": lambda: deaths(given.seconds, given.rate),
        "R13": lambda: overload(given.seconds),
    }
    told = []
    for phase in given.phases.split(","):
        found = asyncio.run(ways[phase]())
        told.append(found)
        print(json.dumps(found, indent=1), flush=True)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(told, indent=1) + "\n")
    missed = [each["phase"] for each in told if not each["met"]]
    print(f"met: {len(told) - len(missed)}, missed: {', '.join(missed) or 'none'}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
