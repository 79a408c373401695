"""Replicas come and go under load, and nobody loses an answer: 0 failed requests, 0 cut streams, unless
``drain.seconds`` says that a stream may be cut, and then it is told so.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from e2e.cluster import Cluster
from e2e.journeys.paced_model import TOKEN_SECONDS, Talk, Told, a_talker, failures, seed_talker
from e2e.journeys.watching import moving, pods
from e2e.kube import OURS, Json, Kube, until

COST = "controller.kubernetes.io/pod-deletion-cost"
CALLERS = 4
LONG, MIDDLE, SHORT = 200, 120, 100
PRESTOP_SECONDS, STOPPING_SECONDS = 5, 10


@pytest.fixture(scope="module")
def talker(kube: Kube, namespace: str) -> None:
    seed_talker(kube, namespace)


def awake(kube: Kube, namespace: str, name: str, replicas: int) -> set[str]:
    """Wait until so many replicas answer and no other is left; their pods."""

    def look() -> bool:
        there = len(pods(kube, namespace, "inferenceservice", name))
        return kube.endpoints(name, namespace) == there == replicas

    until(f"{name} has {replicas} replicas", 240, look, progress=moving(kube, namespace))
    return {p["metadata"]["name"] for p in pods(kube, namespace, "inferenceservice", name)}


class Watched:
    """What was seen of a service's pods, twice a second: which were marked, and when which went."""

    def __init__(self, kube: Kube, namespace: str, name: str) -> None:
        self.marked: set[str] = set()
        self.deleted: dict[str, float] = {}
        self.gone: dict[str, float] = {}
        self._look = lambda: pods(kube, namespace, "inferenceservice", name)
        self._before: set[str] = set()

    async def run(self) -> None:
        while True:
            self.note(await asyncio.to_thread(self._look), time.monotonic())
            await asyncio.sleep(0.5)

    def note(self, found: list[Json], now: float) -> None:
        metadata = {p["metadata"]["name"]: p["metadata"] for p in found}
        for name, meta in metadata.items():
            if COST in (meta.get("annotations") or {}):
                self.marked.add(name)
            if meta.get("deletionTimestamp"):
                self.deleted.setdefault(name, now)
        for name in self._before - metadata.keys():
            self.gone.setdefault(name, now)
        self._before = set(metadata)


async def under_load(
    here: Cluster,
    model: str,
    watched: Watched,
    tokens: list[int],
    change: Callable[[], None],
    over: Callable[[], Awaitable[bool]],
) -> tuple[list[Told], list[Told], list[Told]]:
    """Begin a stream for each of ``tokens``, one by gRPC for every two of them, and a steady load;
    make the change two seconds later. Returns the streams, those by gRPC, and the short requests
    when the streams have ended and it is over."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=180)) as session:
        talk, enough = Talk(here, model, session), asyncio.Event()
        short: list[Told] = []
        watching = asyncio.create_task(watched.run())
        streams = []
        for wanted in tokens:
            streams.append(asyncio.create_task(talk.stream(wanted)))
            await asyncio.sleep(0.05)  # so that they are shared out in this order
        others = [asyncio.create_task(talk.grpc_stream(wanted)) for wanted in tokens[::2]]
        load = asyncio.create_task(talk.keep_asking(enough, CALLERS, short))
        await asyncio.sleep(2.0)
        await asyncio.to_thread(change)
        found, by_grpc = list(await asyncio.gather(*streams)), list(await asyncio.gather(*others))
        deadline = time.monotonic() + 120
        while not await over():
            assert time.monotonic() < deadline, "the change has not been carried out in 120 s"
            await asyncio.sleep(0.5)
        enough.set()
        await load
        watching.cancel()
        return found, by_grpc, short


def sized(kube: Kube, namespace: str, name: str, replicas: int) -> Callable[[], None]:
    body = {"spec": {"replicas": replicas}}
    return lambda: kube.patch(OURS, "InferenceService", name, namespace, body)


def test_the_replicas_with_the_least_to_do_go_and_nothing_is_lost(
    here: Cluster, kube: Kube, namespace: str, talker: None
) -> None:
    kube.apply(a_talker("fewer", 3, drain=60), namespace)
    there = awake(kube, namespace, "fewer", 3)
    watched = Watched(kube, namespace, "fewer")

    async def over() -> bool:
        return len(watched.gone) == 2

    streams, by_grpc, short = asyncio.run(
        under_load(
            here, "fewer", watched, [LONG, MIDDLE, SHORT] * 4, sized(kube, namespace, "fewer", 1), over
        )
    )  # fmt: skip
    assert not failures([*streams, *by_grpc])
    assert not failures(short)
    assert len(short) >= 100
    (stayed,) = there - watched.gone.keys()
    busiest = {told.pods[0] for told in streams if told.wanted == LONG}
    assert busiest == {stayed}, "the replica with the most to do was to stay"
    assert watched.marked == watched.gone.keys() == watched.deleted.keys()
    for name, gone in watched.gone.items():
        last = max(told.ended for told in [*streams, *by_grpc] if name in told.pods)
        free = max(last, watched.deleted[name] + PRESTOP_SECONDS)
        assert gone < free + STOPPING_SECONDS, f"{name} was held {gone - free:.1f} s for nobody"
    after = [told for told in short if told.ended > max(watched.deleted.values()) + 2]
    assert {pod for told in after for pod in told.pods} == {stayed}, "a leaving replica got work"
    kube.delete(OURS, "InferenceService", "fewer", namespace)


def test_a_stream_that_outlasts_its_drain_is_told_so(
    here: Cluster, kube: Kube, namespace: str, talker: None
) -> None:
    kube.apply(a_talker("brief", 2, drain=2), namespace)
    there = awake(kube, namespace, "brief", 2)
    watched = Watched(kube, namespace, "brief")

    async def over() -> bool:
        return len(watched.gone) == 1

    streams, by_grpc, short = asyncio.run(
        under_load(
            here, "brief", watched, [250] * 6, sized(kube, namespace, "brief", 1), over
        )
    )  # fmt: skip
    (stayed,) = there - watched.gone.keys()
    cut = [told for told in streams if told.pods[0] != stayed]
    assert len(cut) == 3
    cut_by_grpc = [told for told in by_grpc if told.pods[0] != stayed]
    assert cut_by_grpc
    assert all(told.unavailable for told in cut_by_grpc), failures(cut_by_grpc)
    assert not failures([told for told in by_grpc if told.pods[0] == stayed])
    assert all(told.cut_explicitly for told in cut), failures(cut)
    assert not failures([told for told in streams if told.pods[0] == stayed])
    assert not failures(short)
    held = min(len(told.pods) for told in cut) * TOKEN_SECONDS
    assert held > PRESTOP_SECONDS + 2, "they were cut before their time"
    kube.delete(OURS, "InferenceService", "brief", namespace)


def test_an_edit_is_rolled_out_under_load_and_nothing_is_lost(
    here: Cluster, kube: Kube, namespace: str, talker: None
) -> None:
    kube.apply(a_talker("rolls", 2, drain=60), namespace)
    there = awake(kube, namespace, "rolls", 2)
    watched = Watched(kube, namespace, "rolls")
    colour = {"spec": {"runtime": {"env": [{"name": "COLOUR", "value": "blue"}]}}}

    async def over() -> bool:
        return there == watched.gone.keys()

    streams, by_grpc, short = asyncio.run(
        under_load(
            here,
            "rolls",
            watched,
            [150] * 6,
            lambda: kube.patch(OURS, "InferenceService", "rolls", namespace, colour),
            over,
        )
    )
    assert not failures([*streams, *by_grpc])
    assert not failures(short)
    assert len(short) >= 100
    served = {pod for told in short for pod in told.pods}
    assert served > there, "the new replicas answered nobody"
    kube.delete(OURS, "InferenceService", "rolls", namespace)
