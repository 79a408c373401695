"""A revision on trial gets its share and no more, is counted, and costs nobody an answer.

Holds: gateway/routing/canary_stats.py
"""

import asyncio

import pytest

from preamar.gateway.routing.canary_stats import WARM
from preamar.protocol.histogram import BOUNDS
from tests.gateway.conftest import endpoints, load, service
from tests.gateway.fake_triton import FakeTriton
from tests.gateway.routing.test_routing import vector


def trying(percent, phase="Trying", revision="r2"):
    """MiniLM with a revision on trial."""
    body = service("minilm", "Embed")
    told = {"revision": revision, "phase": phase, "percent": percent}
    return body | {"status": {"rollout": told}}


def slices(old, new):
    """Both revisions are pods of one Service; names tell them apart."""
    found = endpoints("minilm", old.port, new.port)
    found[1]["endpoints"][0]["targetRef"]["name"] = "minilm-canary-6d5f-x2k9p"
    return found


def line(rig):
    return rig.gateway.registry.queues["minilm"]


async def ask(http, rig, count):
    answers = await asyncio.gather(*(vector(http, rig, f"text {n}") for n in range(count)))
    return [status for status, _ in answers]


@pytest.mark.parametrize(("percent", "least", "most"), [(0, 0, 0), (20, 20, 70), (100, 200, 200)])
async def test_a_revision_on_trial_gets_its_share(percent, least, most, rig, http):
    async with FakeTriton() as old, FakeTriton() as new:
        rig.know([trying(percent)], slices(old, new))
        for _ in range(20):
            assert set(await ask(http, rig, 10)) == {200}
        assert least <= len(new.requests) <= most
        assert len(old.requests) + len(new.requests) == 200
        told = load(line(rig))["trial"]
        assert told["revision"] == "r2"
        assert (told["old"][0], told["new"][0]) == (len(old.requests), len(new.requests))
        assert sum(told["old"][2]) == len(old.requests)
        assert sum(told["new"][2]) == max(0, len(new.requests) - WARM)
        assert len(told["new"][2]) == len(BOUNDS) + 1


async def test_nobody_is_failed_by_a_revision_on_trial_and_its_failures_are_counted(rig, http):
    async with FakeTriton() as old, FakeTriton() as new:
        new.status = 500
        rig.know([trying(50)], slices(old, new))
        for _ in range(40):
            new.status = 500
            line(rig).replicas[next(a for a in line(rig).replicas if a.canary)].ejected_until = 0.0
            assert set(await ask(http, rig, 5)) == {200}
        told = load(line(rig))["trial"]
        assert told["new"][1] == told["new"][0] >= 30  # more than the budget of repeated requests
        assert told["old"][1] == 0


@pytest.mark.parametrize(
    "status", [None, {"phase": "RolledBack"}, {"phase": "Promoted"}, {"phase": 7}]
)
async def test_pods_of_a_trial_that_is_over_get_nothing(status, rig, http):
    async with FakeTriton() as old, FakeTriton() as new:
        body = trying(50)
        body["status"]["rollout"] = status and body["status"]["rollout"] | status
        rig.know([body], slices(old, new))
        assert set(await ask(http, rig, 20)) == {200}
        assert new.requests == []
        assert "trial" not in load(line(rig))


async def test_callers_see_which_revision_answered(rig, http):
    async with FakeTriton() as old, FakeTriton() as new:
        body = trying(50)
        body["status"] |= {"revision": "r1", "model": {"digest": "sha256:1"}}
        rig.know([body], slices(old, new))
        seen = {}
        for number in range(30):
            words = {"model": "minilm", "input": f"text {number}"}
            before = len(new.requests)
            url = rig.url + "/v1/embeddings"
            async with http.post(url, json=words, headers=rig.auth) as answer:
                await answer.read()
                told = answer.headers
            kind = "new" if len(new.requests) > before else "old"
            seen[kind] = told["x-preamar-model-revision"], told.get("x-preamar-model-digest")
        assert seen == {"old": ("r1", "sha256:1"), "new": ("r2", None)}


async def test_each_revision_is_counted_anew(rig, http):
    async with FakeTriton() as old, FakeTriton() as new:
        rig.know([trying(100)], slices(old, new))
        await ask(http, rig, 5)
        rig.know([trying(100, revision="r3")], slices(old, new))
        assert load(line(rig))["trial"]["new"][0] == 0
        await ask(http, rig, 3)
        assert load(line(rig))["trial"]["new"][0] == 3


async def test_nobody_waits_for_a_revision_on_trial_that_is_not_there(rig, http):
    async with FakeTriton() as old, FakeTriton() as new:
        rig.know([trying(100)], slices(old, new)[:1])
        assert set(await ask(http, rig, 10)) == {200}
        rig.know([trying(100)], slices(old, new))
        new.gate.clear()  # it takes as many as it has room for, and answers nobody
        room = line(rig).model.room
        held = [asyncio.create_task(vector(http, rig, f"held {n}")) for n in range(room)]
        async with asyncio.timeout(60):
            while len(new.requests) < room:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert set(await ask(http, rig, 5)) == {200}
        new.gate.set()
        await asyncio.gather(*held)


async def test_nor_are_callers_whose_requests_are_never_repeated_otherwise(rig, http):
    tensor = {"name": "x", "datatype": "BYTES", "shape": [1], "data": ["a text"]}
    async with FakeTriton() as old, FakeTriton() as new:
        new.status = 500
        body = trying(100)
        body["spec"]["model"]["task"] = "Infer"
        rig.know([body], slices(old, new))
        url = rig.url + "/v2/models/minilm/infer"
        for _ in range(5):
            async with http.post(url, json={"inputs": [tensor]}, headers=rig.auth) as answer:
                assert answer.status == 200, await answer.text()
        assert len(new.requests) >= 3
