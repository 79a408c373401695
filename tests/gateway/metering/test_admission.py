"""Every door of the gateway says the same of the same request: outcome, row and metric.

Holds: gateway/metering/admission.py, gateway/metering/metrics.py, gateway/metering/request_id.py,
gateway/metering/usage_recorder.py
"""

import asyncio
import json
import re
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import grpc.aio
import pytest

from preamar.gateway.wire.protobuf import message
from preamar.ledger.store.backend import OneFile
from tests.gateway.conftest import running_gateway, service, until

SERVICE = "/inference.GRPCInferenceService/"
STALLED = {"conditions": [{"type": "Stalled", "status": "True", "reason": "VolumeMissing"}]}
PRICE = {"perMillionInputTokens": "10000", "perMillionOutputTokens": "10000"}
REFUSED = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip
"""What a gRPC caller sees for what a caller by HTTP sees."""


class ByHttp:
    def __init__(self, path, body):
        self.path, self.body = path, body

    async def ask(self, rig, http, key, name, wait=None):
        headers = {"Authorization": f"Bearer {key}"}
        if wait is not None:
            headers["x-request-timeout"] = str(wait)
        path = self.path.format(name=name)
        body = json.dumps({"model": name} | self.body)
        async with http.post(rig.url + path, data=body, headers=headers) as answer:
            problem = (await answer.json())["error"]
            return REFUSED[answer.status], problem["message"], answer.headers.get("Retry-After")


class ByGrpc:
    def __init__(self, method, *, streams):
        self.method, self.streams = method, streams

    async def ask(self, rig, _http, key, name, wait=None):
        asked = message(1, name.encode())
        about = {"metadata": (("authorization", f"Bearer {key}"),), "timeout": wait}
        async with grpc.aio.insecure_channel(f"127.0.0.1:{rig.gateway.grpc.number}") as channel:
            await channel.channel_ready()  # connecting is not to be a part of its caller's patience
            try:
                if self.streams:
                    send = channel.stream_stream(SERVICE + self.method)
                    await anext(aiter(send(iter([asked]), **about)))
                else:
                    await channel.unary_unary(SERVICE + self.method)(asked, **about)
            except grpc.aio.AioRpcError as error:
                trailing = dict(error.trailing_metadata() or ())
                return error.code().name, error.details(), trailing.get("retry-after")
        raise AssertionError("it was answered")


DOORS = {
    "/v1/completions": ByHttp("/v1/completions", {"prompt": "hi"}),
    "/v1/completions, streamed": ByHttp("/v1/completions", {"prompt": "hi", "stream": True}),
    "/v2/infer": ByHttp("/v2/models/{name}/infer", {}),
    "/v2/generate_stream": ByHttp("/v2/models/{name}/generate_stream", {}),
    "ModelInfer": ByGrpc("ModelInfer", streams=False),
    "ModelStreamInfer": ByGrpc("ModelStreamInfer", streams=True),
}


class Case:
    """What is asked, of a gateway in which state; ``row`` and ``metric`` that it leaves."""

    def __init__(self, says, row, metric, *, tenant=(), name="gpt", wait=None, **more):
        self.says, self.row, self.metric = says, row, metric
        self.tenant, self.name, self.wait, self.more = dict(tenant), name, wait, more

    async def prepare(self, rig, _http, _door, monkeypatch, _stack):
        if self.more.get("ledger") == "down":
            monkeypatch.setattr(OneFile, "healthy", property(lambda _: False))
        if self.more.get("key") == "revoked":
            for key in rig.gateway.keyring.of("acme"):
                rig.gateway.keyring.revoke("acme", key.id)

    def service(self):
        asked = {"price": PRICE, "hold": {"maxRequests": self.more.get("hold", 200)}}
        access = self.more.get("access")
        made = service("gpt", **asked, **({"access": access} if access else {}))
        return made | ({"status": self.more["status"]} if "status" in self.more else {})


class Full(Case):
    """Another request is in the only place of the hold."""

    async def prepare(self, rig, http, door, monkeypatch, stack):
        await stack.enter_async_context(_waiting(rig, http, door))


@asynccontextmanager
async def _waiting(rig, http, door):
    task = asyncio.create_task(door.ask(rig, http, rig.key, "gpt"))
    await until(lambda: rig.line("gpt").queued == 1)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await until(lambda: not rig.line("gpt").queued and not rig.gateway.health.active)


NO_ROW = None
CASES = {
    "unknown model": Case(
        "The model 'other' does not exist.", NO_ROW, ("unknown", "acme", 404), name="other"
    ),
    "key without access": Case(
        "This key may not use the model 'gpt'.", NO_ROW, ("gpt", "acme", 403),
        access={"mode": "Listed", "tenants": ["other"]},
    ),
    "revoked key": Case(
        "The API key is not valid.", NO_ROW, ("unknown", "", 401), key="revoked"
    ),
    "ledger down": Case(
        "Usage cannot be recorded", NO_ROW, ("gpt", "acme", 503), ledger="down"
    ),
    "budget exhausted": Case(
        "The tenant 'acme' may spend 0.001 USD this month", NO_ROW, ("gpt", "acme", 429),
        tenant={"budget": {"currency": "USD", "amount": "0.001", "period": "Month"}},
    ),
    "over limits": Case(
        "The tenant 'acme' may use 0 requests a minute", NO_ROW, ("gpt", "acme", 429),
        tenant={"limits": {"requestsPerMinute": 0}},
    ),
    "deadline passed": Case("", (504, 0, 0), ("gpt", "acme", 504), wait=0.5),
    "model stalled": Case(
        "The model 'gpt' cannot start (VolumeMissing)", (503, 0, 0), ("gpt", "acme", 503),
        status=STALLED,
    ),
    "hold full": Full(
        "Too many requests wait for the model 'gpt'", (503, 0, 0), ("gpt", "acme", 503), hold=1
    ),
}  # fmt: skip


def counted(rig):
    """Requests by model, tenant and code."""
    label = re.compile(r'code="(\d+)",model="([^"]*)",tenant="([^"]*)"')
    found = {}
    for line in rig.gateway.meters.text().decode().splitlines():
        if line.startswith("preamar_gateway_requests_total{"):
            code, model, tenant = label.search(line).groups()
            found[model, tenant, int(code)] = float(line.rpartition(" ")[2])
    return found


def more(after, before):
    return {key: n - before.get(key, 0) for key, n in after.items() if n != before.get(key, 0)}


@pytest.fixture
async def rig(tmp_path):
    """No stream says that it is alive before what is asked of it is over."""
    async with running_gateway(tmp_path, keep_alive_seconds=30) as rig:
        yield rig


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_all_doors_agree(rig, http, monkeypatch, case):
    tenants = [{"metadata": {"name": "acme"}, "spec": case.tenant}] if case.tenant else []
    rig.gateway.watcher.snapshot.replace("tenants", tenants)
    rig.know([case.service()], [])
    outcomes = {}
    for name, door in DOORS.items():
        async with AsyncExitStack() as stack:
            await case.prepare(rig, http, door, monkeypatch, stack)
            before, rows = counted(rig), {row.id for row in rig.rows()}
            code, said, retry = await door.ask(rig, http, rig.key, case.name, case.wait)
            await until(lambda before=before: more(counted(rig), before))
            await until(lambda rows=rows: case.row is None or {r.id for r in rig.rows()} - rows)
            metric = more(counted(rig), before)
            left = [row for row in rig.rows() if row.id not in rows]
        assert code == REFUSED[case.metric[2]], name
        # gRPC itself ends a call whose caller waits no longer.
        if case.says:
            assert said.startswith(case.says), name
        assert metric == {case.metric: 1}, name
        written = [(row.status, row.input_tokens, row.output_tokens) for row in left]
        assert written == ([] if case.row is None else [case.row]), name
        assert {(r.tenant, r.model, r.kind, r.state) for r in left} <= {
            ("acme", "gpt", "completions", "done")
        }
        outcomes[name] = code, re.sub(r"[\d.]+", "n", said) if case.says else "", retry and "n"
    assert len(set(outcomes.values())) == 1, outcomes
