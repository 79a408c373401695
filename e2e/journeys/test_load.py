"""Load comes and goes; replicas follow it to max and to zero, and no request fails."""

import asyncio
import time

from e2e.cluster import Cluster
from e2e.demo.calls import Count, load
from e2e.journeys.watching import asleep
from e2e.journeys.wishes import a_service
from e2e.kube import Kube


async def busy(here: Cluster, kube: Kube, namespace: str) -> tuple[int, Count]:
    enough = asyncio.Event()
    task = asyncio.create_task(load(here, "busy", 16, enough))
    start, peak = time.monotonic(), 0
    while not task.done():
        await asyncio.sleep(0.5)
        peak = max(peak, await asyncio.to_thread(kube.endpoints, "busy", namespace))
        passed = time.monotonic() - start
        if (peak == 2 and passed > 30) or passed > 150:
            enough.set()
    return peak, await task


def test_no_request_fails_from_zero_to_max_and_back(
    here: Cluster, kube: Kube, namespace: str
) -> None:
    kube.apply(a_service("busy"), namespace)
    asleep(kube, namespace, "busy")
    peak, count = asyncio.run(busy(here, kube, namespace))
    assert not count.failed, dict(count.errors)
    assert count.answered >= 100
    assert peak == 2
    asleep(kube, namespace, "busy")
