"""A service at zero keeps its promise to callers: as many wait as its hold takes, the rest hear when to
come back; a stream hears that it waits; and a wake that nobody waits for any more is given up.
"""

import asyncio
import json
import time
from collections import Counter
from math import ceil

import aiohttp
import pytest
from openai import APIConnectionError, APITimeoutError

from e2e.cluster import Cluster
from e2e.demo.calls import client
from e2e.journeys.paced_model import a_talker, seed_talker
from e2e.journeys.watching import asleep, moving, service
from e2e.journeys.wishes import a_service
from e2e.kube import OURS, Json, Kube, until

CALLERS, HOLD = 300, 200
LOADS_SECONDS = 24
ASLEEP = {"mode": "Managed", "min": 0, "max": 1, "idleSeconds": 5}


def learned(kube: Kube, namespace: str, name: str) -> float:
    """Seconds that a cold start of it takes, as its status says."""
    status = (service(kube, namespace, name) or {}).get("status") or {}
    return float(status["learned"]["coldStartSeconds"])


async def all_at_once(here: Cluster, model: str) -> tuple[Counter[int], list[int], list[int]]:
    """Answers by status, what those with 503 said of when to come back, and the cold starts told."""
    statuses: Counter[int] = Counter()
    waits: list[int] = []
    colds: list[int] = []

    async def ask(session: aiohttp.ClientSession) -> None:
        url = f"{here.gateway_url}/v1/embeddings"
        body = {"model": model, "input": "a boat at sea"}
        headers = {"Authorization": f"Bearer {here.key()}"}
        async with session.post(url, json=body, headers=headers) as answer:
            found: Json = await answer.json()
            statuses[answer.status] += 1
            if answer.status == 200:
                assert found["data"][0]["embedding"]
                colds.append(int(answer.headers["x-preamar-cold-start-ms"]))
            else:
                assert found["error"]["code"] == "hold_full"
                waits.append(int(answer.headers["Retry-After"]))

    limits = aiohttp.ClientTimeout(total=180)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CALLERS), timeout=limits
    ) as session:
        await asyncio.gather(*(ask(session) for _ in range(CALLERS)))
    return statuses, waits, colds


def test_of_three_hundred_at_once_two_hundred_wait_and_the_rest_hear_when_to_come_back(
    here: Cluster, kube: Kube, namespace: str
) -> None:
    kube.apply(a_service("crowd", hold={"maxRequests": HOLD, "maxSeconds": 120}), namespace)
    asleep(kube, namespace, "crowd")
    cold_start = learned(kube, namespace, "crowd")
    statuses, waits, colds = asyncio.run(all_at_once(here, "crowd"))
    assert statuses == {200: HOLD, 503: CALLERS - HOLD}
    assert all(1 <= wait <= ceil(cold_start) for wait in waits), (waits, cold_start)
    assert all(0 < cold < 120_000 for cold in colds)
    kube.delete(OURS, "InferenceService", "crowd", namespace)


@pytest.fixture
def sleeper(kube: Kube, namespace: str) -> Json:
    """A model that takes its time to load, having loaded once."""
    seed_talker(kube, namespace)
    wish = a_talker("sleeper", 1, drain=5)
    wish["spec"]["scaling"] = ASLEEP
    wish["spec"]["runtime"] = {
        "env": [{"name": "TALKER_LOADS_SECONDS", "value": str(LOADS_SECONDS)}]
    }
    del wish["spec"]["replicas"]
    kube.apply(wish, namespace)
    asleep(kube, namespace, "sleeper", seconds=300)
    return wish


def test_a_stream_to_a_sleeping_model_hears_that_it_waits_and_a_wake_nobody_wants_is_given_up(
    here: Cluster, kube: Kube, namespace: str, sleeper: Json
) -> None:
    lines = asyncio.run(lines_of_a_stream(here, "sleeper"))
    told = [at for at, line in lines if line == b": waiting"]
    assert len(told) >= LOADS_SECONDS // 10
    gaps = [later - earlier for earlier, later in zip([0.0, *told], told, strict=False)]
    assert all(9 <= gap < 20 for gap in gaps), gaps
    texts = [line for _, line in lines if line.startswith(b"data: {")]
    chunks = [json.loads(text.removeprefix(b"data: ")) for text in texts]
    assert any(each["finish_reason"] == "length" for chunk in chunks for each in chunk["choices"])
    assert lines[-1][1] == b"data: [DONE]"
    assert any(line.startswith(b": x-preamar-cold-start-ms: ") for _, line in lines)

    asleep(kube, namespace, "sleeper")
    chunks = client(here).completions.create(
        model="sleeper", prompt="talk", max_tokens=3, stream=True
    )
    assert len("".join(chunk.choices[0].text for chunk in chunks).split()) == 3

    asleep(kube, namespace, "sleeper")
    given_up(here, kube, namespace)
    kube.delete(OURS, "InferenceService", "sleeper", namespace)


async def lines_of_a_stream(here: Cluster, model: str) -> list[tuple[float, bytes]]:
    """Each line on the wire that is not empty, with the seconds from the request to it."""
    began = time.monotonic()
    body = {"model": model, "prompt": "talk", "max_tokens": 5, "stream": True}
    limits = aiohttp.ClientTimeout(total=180)
    async with (
        aiohttp.ClientSession(timeout=limits) as session,
        session.post(
            f"{here.gateway_url}/v1/completions",
            json=body,
            headers={"Authorization": f"Bearer {here.key()}"},
        ) as answer,
    ):
        assert answer.status == 200
        return [
            (time.monotonic() - began, line.strip())
            async for line in answer.content
            if line.strip()
        ]


def given_up(here: Cluster, kube: Kube, namespace: str) -> None:
    """A caller who leaves takes the wake along, and no replica needs to become ready for that."""

    def wanted() -> int:
        return int((service(kube, namespace, "sleeper") or {})["spec"].get("replicas", 1))

    with pytest.raises((APITimeoutError, APIConnectionError)):
        client(here, seconds=3.0).completions.create(model="sleeper", prompt="talk", max_tokens=1)
    left = time.monotonic()
    seen: set[int] = set()

    def back() -> bool:
        seen.add(kube.endpoints("sleeper", namespace))
        return wanted() == 0

    until(
        "nobody waits, so nothing is started",
        LOADS_SECONDS / 2,
        back,
        every=0.2,
        progress=moving(kube, namespace),
    )
    print(f"given up {time.monotonic() - left:.1f} s after the last caller left")
    assert seen == {0}
