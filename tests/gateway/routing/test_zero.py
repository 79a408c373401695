"""What a caller of a sleeping model is promised: it waits, is told so, or is told when to come back.

Holds: gateway/routing/queue.py, gateway/routing/registry.py, gateway/routing/retry_after.py,
gateway/relay/upstream.py
"""

import asyncio
import json

import openai
import pytest

from preamar.gateway.discovery.catalog import Snapshot
from preamar.gateway.discovery.resources import model_of
from preamar.gateway.relay import upstream
from preamar.gateway.reporting import demand
from preamar.gateway.routing.queue import ModelQueue
from preamar.ledger.store.writer import LedgerUnavailable
from preamar.ledger.tables.usage_record import State
from tests.gateway.conftest import endpoints, running_gateway, service, until
from tests.gateway.fake_triton import FakeTriton

ASK = {"model": "gpt", "prompt": "hi"}
REQUEST = {"REQUEST": json.dumps({"prompt": "hi"})}
DOORS = {
    "/v1/completions": ASK,
    "/v1/chat/completions": {"model": "gpt", "messages": [{"role": "user", "content": "hi"}]},
    "/v1/embeddings": {"model": "vec", "input": "hi"},
    "/v2/models/vec/infer": {"inputs": [{"name": "TEXT", "data": ["hi"]}]},
    "/v2/models/gpt/generate_stream": REQUEST,
}
STREAMS = {
    "/v1/completions": ASK | {"stream": True},
    "/v1/chat/completions": DOORS["/v1/chat/completions"] | {"stream": True},
    "/v2/models/gpt/generate_stream": REQUEST,
}
STREAM = ASK | {"stream": True}


@pytest.fixture
async def rig(tmp_path):
    async with running_gateway(tmp_path, keep_alive_seconds=60) as rig:
        rig.know([service("gpt"), service("vec", "Embed")], [])
        yield rig


@pytest.fixture
def soon(rig):
    """Comments come soon."""
    object.__setattr__(rig.gateway.settings, "keep_alive_seconds", 0.05)


@pytest.fixture
async def fake():
    async with FakeTriton() as fake:
        yield fake


async def ask(http, rig, path="/v1/completions", body=ASK, headers=None):
    async with http.post(rig.url + path, json=body, headers=headers or rig.auth) as answer:
        return answer.status, answer.headers, await answer.text(errors="replace")


def client(rig):
    return openai.AsyncOpenAI(base_url=f"{rig.url}/v1", api_key=rig.key, max_retries=0)


def wakes(rig, fake):
    rig.know(slices=[*endpoints("gpt", fake.port), *endpoints("vec", fake.port)])


def learned(name, seconds, **spec):
    return service(name, **spec) | {"status": {"learned": {"coldStartSeconds": seconds}}}


def error_of(text):
    """The error event that a stream ends with."""
    last = text.rstrip("\n").rpartition("\n\n")[2]
    return json.loads(last.removeprefix("data: "))["error"]


async def waiting(rig, name="gpt", count=1):
    await until(lambda: len(rig.line(name).hold) == count)


@pytest.mark.parametrize("path", STREAMS)
async def test_a_stream_says_that_it_waits_how_long_it_was_and_then_answers(
    rig, soon, http, fake, path
):
    async with http.post(rig.url + path, json=STREAMS[path], headers=rig.auth) as answer:
        assert answer.status == 200
        assert answer.content_type == "text/event-stream"
        assert "x-request-id" in answer.headers
        assert await answer.content.readuntil(b"\n\n") == b": waiting\n\n"
        assert await answer.content.readuntil(b"\n\n") == b": waiting\n\n"
        wakes(rig, fake)
        text = await answer.text()
    assert ": x-preamar-cold-start-ms: " in text
    assert text.index("cold-start") < text.index("data: ")
    assert all(word in text for word in ("one ", "two ", "three"))
    assert text.endswith("data: [DONE]\n\n") == path.startswith("/v1")
    await until(rig.rows)
    assert [(row.status, row.output_tokens) for row in rig.rows()] == [(200, 3)]


async def test_a_stream_whose_first_token_is_late_says_that_it_waits(rig, soon, http, fake):
    wakes(rig, fake)
    fake.gate.clear()
    async with http.post(rig.url + "/v1/completions", json=STREAM, headers=rig.auth) as answer:
        assert await answer.content.readuntil(b"\n\n") == b": waiting\n\n"
        fake.gate.set()
        text = await answer.text()
    assert "cold-start" not in text
    assert text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("path", STREAMS)
async def test_between_events_it_says_that_the_stream_is_alive(rig, soon, http, path):
    async with FakeTriton(pause=0.15) as slow:
        wakes(rig, slow)
        status, _, text = await ask(http, rig, path, STREAMS[path])
    assert status == 200
    assert ": keep-alive\n\n" in text[text.index("one ") : text.index("three")]


async def test_the_unmodified_openai_client_reads_a_stream_that_waited(rig, soon, fake):
    task = asyncio.create_task(client(rig).completions.create(stream=True, **ASK))
    stream = await task
    assert len(rig.line("gpt").hold) == 1
    wakes(rig, fake)
    assert "".join([chunk.choices[0].text async for chunk in stream]) == "one two three"


async def test_who_does_not_wait_long_gets_the_head_with_the_answer(rig, http, fake):
    task = asyncio.create_task(ask(http, rig, body=STREAM))
    await waiting(rig)
    wakes(rig, fake)
    status, headers, text = await task
    assert status == 200
    assert int(headers["x-preamar-cold-start-ms"]) >= 0
    assert "waiting" not in text


@pytest.mark.parametrize("path", STREAMS)
async def test_what_is_known_at_once_keeps_its_status_on_a_stream(rig, http, path):
    private = service("gpt", access={"mode": "Listed", "tenants": ["somebody"]})
    stalled = {"status": {"conditions": [{"type": "Stalled", "status": "True", "reason": "X"}]}}
    for services, expected in (
        ([], 404),
        ([private], 403),
        ([service("gpt", hold={"maxRequests": 0})], 503),
        ([service("gpt") | stalled], 503),
    ):
        rig.know(services)
        status, headers, text = await ask(http, rig, path, STREAMS[path])
        assert status == expected
        assert headers["Content-Type"].startswith("application/json")
        assert json.loads(text)["error"]["message"]
    if path.startswith("/v1"):
        rig.know([service("gpt")])
        assert (await ask(http, rig, path, STREAMS[path] | {"temperature": 9}))[0] == 400


@pytest.mark.parametrize("path", STREAMS)
async def test_a_failure_after_the_head_is_an_event_and_no_end(rig, soon, http, path):
    rig.held_for("gpt", 0.4)
    status, headers, text = await ask(http, rig, path, STREAMS[path])
    assert status == 200
    assert "Retry-After" not in headers
    assert text.startswith(": waiting\n\n")
    error = error_of(text)
    assert error["code"] == "hold_timeout"
    assert set(error) == {"message", "type", "param", "code"}
    assert "[DONE]" not in text
    async with http.get(rig.url + "/metrics") as answer:
        counted = await answer.text()
    assert 'preamar_gateway_requests_total{code="503",model="gpt",tenant="acme"} 1.0' in counted
    await until(rig.rows)
    assert [(row.status, row.output_tokens) for row in rig.rows()] == [(503, 0)]


async def test_the_unmodified_openai_client_raises_on_a_failure_after_the_head(rig, soon):
    rig.held_for("gpt", 0.4)
    stream = await client(rig).completions.create(stream=True, **ASK)
    with pytest.raises(openai.APIError, match="in time") as failed:
        await anext(aiter(stream))
    assert failed.value.code == "hold_timeout"


async def test_a_model_that_is_deleted_or_stalls_ends_a_waiting_stream_with_an_event(
    rig, soon, http
):
    for end, code in (([], "model_not_found"), (None, "model_stalled")):
        rig.know([service("gpt")])
        async with http.post(rig.url + "/v1/completions", json=STREAM, headers=rig.auth) as answer:
            await answer.content.readuntil(b"\n\n")
            conditions = [{"type": "Stalled", "status": "True", "reason": "NoImage"}]
            stalled = service("gpt") | {"status": {"conditions": conditions}}
            rig.know([stalled] if end is None else end)
            assert error_of(await answer.text())["code"] == code


async def test_an_end_that_the_ledger_does_not_take_is_an_error_event(rig, http, fake, monkeypatch):
    submit = rig.gateway.home.writer.submit

    def full(row, *more):
        if row.state is State.DONE:
            raise LedgerUnavailable
        return submit(row, *more)

    monkeypatch.setattr(rig.gateway.home.writer, "submit", full)
    wakes(rig, fake)
    for path in ("/v1/completions", "/v1/chat/completions"):
        status, _, text = await ask(http, rig, path, STREAMS[path])
        assert status == 200
        assert error_of(text)["code"] == "ledger_unavailable"
        assert "[DONE]" not in text


@pytest.mark.parametrize("path", DOORS)
async def test_each_answer_that_met_a_sleeping_model_says_how_long_it_took(rig, http, fake, path):
    task = asyncio.create_task(ask(http, rig, path, DOORS[path]))
    await until(lambda: any(line.hold for line in rig.gateway.registry.queues.values()))
    wakes(rig, fake)
    status, headers, _ = await task
    assert status == 200
    assert 0 <= int(headers["x-preamar-cold-start-ms"]) < 30_000
    status, headers, _ = await ask(http, rig, path, DOORS[path])
    assert status == 200
    assert "x-preamar-cold-start-ms" not in headers


async def test_an_answer_that_failed_after_the_wake_says_it_too(rig, http, fake):
    fake.status = 500
    task = asyncio.create_task(ask(http, rig, "/v1/embeddings", DOORS["/v1/embeddings"]))
    await waiting(rig, "vec")
    wakes(rig, fake)
    status, headers, _ = await task
    assert status == 500
    assert int(headers["x-preamar-cold-start-ms"]) >= 0


def asleep_for(rig, name, seconds):
    """As if the model had been asked to wake that long ago."""
    rig.line(name)._waking_since -= seconds


async def test_who_finds_the_hold_full_is_told_what_is_left_of_the_cold_start(rig, http):
    rig.know([learned("gpt", "40.0", hold={"maxRequests": 1})])
    task = asyncio.create_task(ask(http, rig))
    await waiting(rig)
    for passed, left in ((0, {39, 40}), (25, {14, 15}), (100, {1})):
        asleep_for(rig, "gpt", passed)
        for path in ("/v1/completions", "/v2/models/gpt/generate_stream"):
            status, headers, text = await ask(http, rig, path, DOORS[path])
            assert (status, json.loads(text)["error"]["code"]) == (503, "hold_full")
            assert int(headers["Retry-After"]) in left
    task.cancel()


@pytest.mark.parametrize(("cold_start", "told"), [
    ("900", {120}), (None, {29, 30}), ("soon", {29, 30}), ("-3", {29, 30}), ("nan", {29, 30}),
])  # fmt: skip
async def test_a_cold_start_that_is_long_unknown_or_nonsense_is_still_told(
    rig, http, cold_start, told
):
    rig.know([learned("gpt", cold_start, hold={"maxRequests": 0})])
    status, headers, _ = await ask(http, rig)
    assert (status, int(headers["Retry-After"]) in told) == (503, True)


async def test_who_waited_too_long_is_told_when_to_come_back(rig, http):
    rig.know([learned("gpt", "40.0")])
    rig.held_for("gpt", 0.05)
    status, headers, text = await ask(http, rig)
    assert (status, json.loads(text)["error"]["code"]) == (503, "hold_timeout")
    assert int(headers["Retry-After"]) in {39, 40}


async def test_a_wake_that_ended_or_was_given_up_does_not_shorten_the_next(rig, http, fake):
    rig.know([learned("gpt", "40.0")])
    line = rig.line("gpt")
    for end in ("leaves", "is served"):
        task = asyncio.create_task(ask(http, rig))
        await waiting(rig)
        asleep_for(rig, "gpt", 30)
        assert line.retry_after == 10
        if end == "leaves":
            task.cancel()
        else:
            rig.know(slices=endpoints("gpt", fake.port))
            await task
            assert line.retry_after == 5
            rig.know(slices=[])
        await waiting(rig, count=0)
        assert line.retry_after == 40


async def test_what_was_learned_is_in_the_snapshot(rig):
    rig.know([learned("gpt", "40.0")])
    rig.gateway.watcher.save()
    kept = Snapshot.load(json.loads(rig.gateway.settings.snapshot.read_bytes()))
    assert kept.services["demo", "gpt"]["status"]["learned"] == {"coldStartSeconds": "40.0"}


async def test_a_tenant_cannot_keep_others_out_of_the_hold(rig, soon, http, fake):
    rig.know([service("gpt", hold={"maxRequests": 4})])
    many = []
    for count in range(1, 4):
        many.append(asyncio.create_task(ask(http, rig)))
        await waiting(rig, count=count)
    newest = await http.post(rig.url + "/v1/completions", json=STREAM, headers=rig.auth)
    assert await newest.content.readuntil(b"\n\n") == b": waiting\n\n"
    other = rig.other("light")
    light = [asyncio.create_task(ask(http, rig, headers=other)) for _ in range(3)]
    # The newest two of the first tenant go; its newest had heard that it waits.
    assert (newest.status, error_of(await newest.text())["code"]) == (200, "hold_full")
    status, headers, _ = await many[2]
    assert status == 503
    assert 1 <= int(headers["Retry-After"]) <= 120
    await until(lambda: sum(task.done() for task in light) == 1)
    wakes(rig, fake)
    assert [(await task)[0] for task in many[:2]] == [200, 200]
    assert sorted([(await task)[0] for task in light]) == [200, 200, 503]


async def test_a_request_between_two_tries_is_still_queued(rig, http, fake, monkeypatch):
    monkeypatch.setattr(upstream, "PAUSE_SECONDS", 0.1)
    wakes(rig, fake)
    fake.hang_up = 2
    task = asyncio.create_task(ask(http, rig))
    await until(lambda: fake.hang_up == 0)
    await until(lambda: rig.line("gpt").running == 0)
    assert demand.load(rig.line("gpt")).queued == 1
    assert (await task)[0] == 200
    assert demand.load(rig.line("gpt")).queued == 0


class Operator:
    """Takes the place of the connection to it: what was told of ``gpt``, and when."""

    def __init__(self):
        self.told = []

    async def post(self, address, body):
        queued = json.loads(body)["services"]["demo/gpt"]["queued"]
        self.told.append((asyncio.get_running_loop().time(), queued))
        return 204


@pytest.mark.looptime
@pytest.mark.parametrize("idle", [5.0, 5.03, 5.5, 5.97])
@pytest.mark.parametrize("stay", [0.0, 0.001, 0.03, 0.049, 0.3, 1.2])
async def test_the_operator_hears_within_50_ms_that_the_last_waiter_came_and_has_left(
    monkeypatch, idle, stay
):
    operator = Operator()
    line = ModelQueue(model_of(service("gpt")), lambda _line: reporter.kick())
    reporter = demand.Reporter("g", b"key", lambda: [line], lambda: (("127.0.0.1", 1),))
    monkeypatch.setattr(reporter, "_post", operator.post)
    reporting = asyncio.create_task(reporter.run())
    loop = asyncio.get_running_loop()
    await asyncio.sleep(idle)
    waiters = [asyncio.create_task(line.enter(line.turn("acme"))) for _ in range(3)]
    came = loop.time()
    await asyncio.sleep(stay)
    for waiter in waiters:
        waiter.cancel()
    left = loop.time()
    await asyncio.sleep(0.06)
    if stay >= 0.05:
        assert min(at for at, queued in operator.told if queued) - came <= 0.0501
    assert next(at for at, queued in operator.told if at >= left and not queued) - left <= 0.0501
    reporting.cancel()
