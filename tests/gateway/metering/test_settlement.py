"""What is charged for a request that ends in any other way than well, at each door by HTTP.

To whom nothing came of an answer, nothing is charged for it; who leaves, or waits no longer, pays
for what was made until then; what reached a caller is paid for, however its rest was lost.

Holds: gateway/metering/call.py, gateway/metering/settlement.py
"""

import asyncio
import json
import time
from types import SimpleNamespace

import aiohttp
import pytest

from preamar.gateway.metering import call as calls
from preamar.gateway.routing.replica import Slot
from preamar.ledger.store.writer import Entry, LedgerUnavailable
from tests.gateway.conftest import endpoints, service, until
from tests.gateway.fake_triton import FakeTriton

ASK = {"prompt": "hi", "max_tokens": 3}
DOORS = {
    "whole": ("/v1/completions", {"model": "gpt", **ASK}),
    "streamed": ("/v1/completions", {"model": "gpt", "stream": True, **ASK}),
    "events": ("/v2/models/gpt/generate_stream", {"REQUEST": json.dumps(ASK)}),
}
ENDS = {
    # Of the model: what it sets, and the row at each door.
    "dies at once": ({"die_after": 0}, (502, 0, 0), (502, 0, 0), (502, 0, 0)),
    "dies after one": ({"die_after": 1}, (502, 0, 0), (502, 4, 1), (502, 0, 0)),
    "dies after two": ({"die_after": 2}, (502, 0, 0), (502, 4, 2), (502, 4, 2)),
    "fails at once": ({"error_after": 0}, (500, 0, 0), (500, 0, 0), (500, 0, 0)),
    "fails after one": ({"error_after": 1}, (500, 0, 0), (500, 4, 1), (500, 0, 0)),
    "fails after two": ({"error_after": 2}, (500, 0, 0), (500, 4, 2), (500, 4, 2)),
    "stops after two": ({"stop_after": 2}, (502, 0, 0), (502, 4, 2), (200, 4, 2)),
}


async def ended(http, rig, door, **headers):
    """Ask, and read what there is to read."""
    path, body = DOORS[door]
    try:
        async with http.post(rig.url + path, json=body, headers=rig.auth | headers) as answer:
            return answer.status, await answer.text()
    except aiohttp.ClientError:
        return 0, ""


async def row(rig):
    await until(lambda: [each for each in rig.rows() if each.state == "done"])
    (found,) = rig.rows()
    assert rig.line("gpt").running == 0
    return found.status, found.input_tokens, found.output_tokens


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("door", DOORS)
async def test_a_model_that_fails(rig, http, door, how):
    settings, *rows = ENDS[how]
    async with FakeTriton() as fake:
        rig.know([service("gpt")], endpoints("gpt", fake.port))
        for name, value in settings.items():
            setattr(fake, name, value)
        await ended(http, rig, door)
        assert await row(rig) == dict(zip(DOORS, rows, strict=True))[door]


@pytest.fixture
def heard(monkeypatch):
    """Tokens that a model has made so far, as the gateway counted them."""
    counts, inner = [], Slot.made

    def made(self, tokens):
        counts.append(tokens)
        inner(self, tokens)

    monkeypatch.setattr(Slot, "made", made)
    return counts


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("made", [0, 1])
async def test_a_caller_who_leaves(rig, http, heard, door, made):
    async with FakeTriton(pause=30) as fake:
        rig.know([service("gpt")], endpoints("gpt", fake.port))
        if not made:
            fake.gate.clear()
        asking = asyncio.create_task(ended(http, rig, door))
        await until(lambda: heard if made else fake.requests)
        asking.cancel()
        assert await row(rig) == ((499, 4, 1) if made else (499, 0, 0))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("made", [0, 1])
async def test_a_caller_who_waits_no_longer(rig, http, heard, door, made):
    async with FakeTriton(pause=30) as fake:
        rig.know([service("gpt")], endpoints("gpt", fake.port))
        if not made:
            fake.gate.clear()
        _, text = await ended(http, rig, door, **{"x-request-timeout": "0.6"})
        assert "deadline_exceeded" in text
        assert await row(rig) == ((504, 4, 1) if made else (504, 0, 0))
        assert bool(heard) == bool(made)


@pytest.mark.parametrize(("left", "status"), [(None, 499), (60, 499), (0.01, 504), (-1, 504)])
def test_who_leaves_as_its_time_is_over_has_waited_no_longer(left, status):
    """Its clock began before ours, so that a caller's own deadline may be a little before."""
    call = SimpleNamespace(deadline=None if left is None else time.monotonic() + left)
    assert calls.Call.status_of(call, asyncio.CancelledError()) == status


ENDLESS = {"whole": (503, 0, 0), "streamed": (503, 4, 3), "events": (503, 4, 3)}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("full", [False, True])
async def test_a_ledger_that_does_not_take_the_end(rig, http, monkeypatch, door, full):
    monkeypatch.setattr(calls, "LEDGER_SECONDS", 0.05)
    writer = rig.gateway.home.writer
    inner, refused = writer.submit, []

    def submit(row, done=None):
        if done is None:
            return inner(row)
        refused.append(row)
        if full:
            raise LedgerUnavailable
        return Entry(row, done)  # and it stays waiting

    monkeypatch.setattr(writer, "submit", submit)
    async with FakeTriton() as fake:
        rig.know([service("gpt")], endpoints("gpt", fake.port))
        _, text = await ended(http, rig, door)
        assert "ledger_unavailable" in text
        assert "[DONE]" not in text
        assert [(each.input_tokens, each.output_tokens) for each in refused] == [(4, 3)]
        assert await row(rig) == ENDLESS[door]


async def vectors(http, rig, *texts):
    body = {"model": "minilm", "input": texts}
    async with http.post(rig.url + "/v1/embeddings", json=body, headers=rig.auth) as answer:
        return answer.status


async def test_vectors_that_the_ledger_does_not_take(rig, http, monkeypatch):
    monkeypatch.setattr(calls, "LEDGER_SECONDS", 0.05)
    writer = rig.gateway.home.writer
    inner = writer.submit
    monkeypatch.setattr(writer, "submit", lambda r, d=None: Entry(r, d) if d else inner(r))
    async with FakeTriton() as fake:
        rig.know([service("minilm", "Embed")], endpoints("minilm", fake.port))
        assert await vectors(http, rig, "a b", "c") == 503
        await until(rig.rows)
        assert [(r.status, r.input_tokens) for r in rig.rows()] == [(503, 0)]
