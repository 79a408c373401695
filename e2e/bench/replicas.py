"""Which replicas were there, from the order of each until its pod was gone? As watches tell.

A pod's own stamps are whole seconds, so moments are those at which a watch heard of a change:
seconds of the wall clock, some milliseconds late.
"""

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from e2e.bench.idle_services import KIND
from e2e.kube import OURS, Json, Kube, condition

Steps = list[tuple[float, int]]
"""A count that holds from each moment to the next."""


@dataclass(slots=True)
class Pod:
    """One replica's pod; None for what has not come about."""

    created: float
    ready: float | None = None
    leaving: float | None = None
    gone: float | None = None


class Watched:
    """Watches one service and its pods from now on, for ``seconds`` at most."""

    def __init__(self, kube: Kube, namespace: str, name: str, seconds: int) -> None:
        self.sizes: Steps = []
        self.decisions: list[tuple[float, Json]] = []
        self.learned: Json = {}
        self.pods: dict[str, Pod] = {}
        self._name = name
        self._end = time.monotonic() + seconds
        self._stopped = threading.Event()
        self._threads = []
        for api, kind, hear in ((OURS, KIND, self._service), ("v1", "Pod", self._pod)):
            events = kube.kind(api, kind).watch(namespace=namespace, timeout=seconds)
            thread = threading.Thread(target=self._follow, args=(events, hear), daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Hear no more. Raises ``RuntimeError`` if a watch ended before."""
        whole = all(thread.is_alive() for thread in self._threads)
        self._stopped.set()
        if not whole or time.monotonic() >= self._end:
            raise RuntimeError("a watch ended before the run did: what was seen has gaps")

    def _follow(self, events: Iterator[Any], hear: Callable[[str, Json, float], None]) -> None:
        for event in events:
            if self._stopped.is_set():
                return
            hear(event["type"], event["raw_object"], time.time())

    def _service(self, _type: str, body: Json, now: float) -> None:
        if body["metadata"]["name"] != self._name:
            return
        size = int(body["spec"].get("replicas", 1))
        status = body.get("status") or {}
        decision = status.get("decision") or {}
        self.learned = status.get("learned") or {}
        if not self.sizes or self.sizes[-1][1] != size:
            self.sizes.append((now, size))
        if decision and (not self.decisions or self.decisions[-1][1] != decision):
            self.decisions.append((now, decision))

    def _pod(self, kind: str, body: Json, now: float) -> None:
        labels = body["metadata"].get("labels") or {}
        if labels.get("preamar.dev/inferenceservice") != self._name:
            return
        pod = self.pods.setdefault(body["metadata"]["name"], Pod(now))
        if pod.ready is None and condition(body, "Ready").get("status") == "True":
            pod.ready = now
        if pod.leaving is None and (kind == "DELETED" or body["metadata"].get("deletionTimestamp")):
            pod.leaving = now
        if kind == "DELETED":
            pod.gone = now


def held(sizes: Steps, pods: Iterable[Pod]) -> Steps:
    """Replicas from order to gone: those that the size asks for, pod or not, those that it does
    not ask for any more but whose deletion has not begun, and those that are being deleted."""
    there = list(pods)
    moments = {at for at, _ in sizes}
    moments |= {at for p in there for at in (p.created, p.leaving, p.gone) if at is not None}

    def count(now: float) -> int:
        live = sum(p.created <= now and not (p.leaving and p.leaving <= now) for p in there)
        leaving = sum(
            bool(p.leaving and p.leaving <= now) and not (p.gone and p.gone <= now) for p in there
        )
        return max(at_moment(sizes, now), live) + leaving

    return [(now, count(now)) for now in sorted(moments)]


def lingering(sizes: Steps, seconds: float) -> Steps:
    """Replicas from order to gone, if each is gone so long after the size no longer asks for it."""
    drops = [(at, before - after) for (_, before), (at, after) in pairs(sizes) if after < before]
    moments = {at for at, _ in sizes} | {at + seconds for at, _ in drops}

    def count(now: float) -> int:
        return at_moment(sizes, now) + sum(less for at, less in drops if at <= now < at + seconds)

    return [(now, count(now)) for now in sorted(moments)]


def pairs(sizes: Steps) -> Iterable[tuple[tuple[float, int], tuple[float, int]]]:
    return itertools.pairwise(sizes)


def at_moment(steps: Steps, now: float) -> int:
    """What holds then; 0 before the first."""
    found = 0
    for at, count in steps:
        if at > now:
            break
        found = count
    return found


def area(steps: Steps, begin: float, end: float) -> float:
    """Replica-seconds between two moments."""
    inside = [begin, *(at for at, _ in steps if begin < at < end), end]
    return sum(
        (after - before) * at_moment(steps, before) for before, after in itertools.pairwise(inside)
    )


def starts(sizes: Steps, pods: Iterable[Pod], since: float) -> list[float]:
    """Seconds from the order of a replica until it was ready, of those that came so far."""
    orders = [at for (_, before), (at, after) in pairs(sizes) if after > before]
    found = []
    for pod in pods:
        order = max((at for at in orders if at <= pod.created + 0.5), default=None)
        if pod.ready is not None and order is not None and order >= since:
            found.append(pod.ready - order)
    return found


def ends(sizes: Steps, pods: Iterable[Pod], since: float) -> list[float]:
    """Seconds from the write of a smaller size until a pod was gone."""
    drops = [at for (_, before), (at, after) in pairs(sizes) if after < before]
    found = []
    for pod in pods:
        if pod.leaving is None or pod.gone is None:
            continue
        order = max((at for at in drops if at <= pod.leaving + 0.5), default=None)
        if order is not None and order >= since:
            found.append(pod.gone - order)
    return found


def middle(values: Sequence[float], otherwise: float) -> float:
    """The median, or what to take where nothing was seen."""
    return median(values) if values else otherwise
