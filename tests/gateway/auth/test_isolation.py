"""Who may reach what: tenants and their keys, against routes and models, each pair tried.

What should come is said by `expected`, which knows nothing of the gateway. Each model server answers
with words of its own, so that a word in the wrong place is found wherever it comes from.

Holds: gateway/auth/caller.py, gateway/auth/keyring.py, gateway/endpoints/kserve.py,
gateway/endpoints/openai.py
"""

import asyncio
import itertools
import json
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
from grpc import StatusCode, aio
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc as stubs

from preamar.gateway.auth.keys import mint
from tests.gateway.conftest import ADMIN, endpoints, service
from tests.gateway.fake_triton import FakeTriton

TENANTS = ("acme", "beta", "gamma", "none")
"""`none` has no Tenant resource; `gamma` may call two models only."""
OPEN_TO = {
    "open-text": None,
    "acme-text": {"acme"},
    "beta-text": {"beta"},
    "both-text": {"acme", "beta"},
    "open-vec": None,
    "acme-vec": {"acme"},
    "nobody-text": set(),
    "gamma-vec": {"gamma", "acme"},
}
TENANT_MODELS = {"gamma": {"open-text", "gamma-vec"}}
SCOPES = {
    "whole": None,
    "narrow": {"open-text", "acme-text", "acme-vec"},
    "expired": None,
    "revoked": None,
    "rotated": None,
    "forged": None,
}
GOOD = {"whole", "narrow"}


def task(model):
    return "Embed" if model.endswith("-vec") else "Generate"


@dataclass(frozen=True)
class Route:
    method: str
    path: str
    body: dict | None = None
    task: str | None = None

    def at(self, model):
        body = None if self.body is None else json.dumps(self.body | {"model": model})
        return self.method, self.path.replace("{m}", model), body


INFER = {"inputs": [{"name": "TEXT", "datatype": "BYTES", "shape": [1, 1], "data": ["hi"]}]}
TEXT = {"REQUEST": json.dumps({"prompt": "hi"})}
ROUTES = (
    Route("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}, "Generate"),
    Route("POST", "/v1/completions", {"prompt": "x"}, "Generate"),
    Route("POST", "/v1/completions", {"prompt": "x", "stream": True}, "Generate"),
    Route("POST", "/v1/embeddings", {"input": "x"}, "Embed"),
    Route("GET", "/v1/models/{m}"),
    Route("GET", "/v2/models/{m}"),
    Route("GET", "/v2/models/{m}/versions/1"),
    Route("GET", "/v2/models/{m}/ready"),
    Route("POST", "/v2/models/{m}/infer", INFER, "Embed"),
    Route("POST", "/v2/models/{m}/versions/1/infer", INFER, "Embed"),
    Route("POST", "/v2/models/{m}/generate_stream", TEXT, "Generate"),
)  # fmt: skip
CELLS = [
    cell
    for cell in itertools.product(TENANTS, SCOPES, ROUTES, OPEN_TO)
    if cell[2].task in {None, task(cell[3])}
]


def expected(tenant, scope, route, model):
    """The status, from the words of the resources and of the key alone."""
    if scope not in GOOD:
        return 401
    listed, narrow, own = OPEN_TO[model], SCOPES[scope], TENANT_MODELS.get(tenant)
    may = all((
        listed is None or tenant in listed,
        narrow is None or model in narrow,
        own is None or model in own,
    ))  # fmt: skip
    if may:
        return 200
    # Where models are looked up, one that may not be used does not exist.
    return 404 if route.path.startswith("/v1/models") else 403


class World:
    def __init__(self, rig, fakes):
        self.rig, self.fakes = rig, fakes
        self.keys = {
            (tenant, scope): self.key(tenant, scope) for tenant in TENANTS for scope in SCOPES
        }

    def key(self, tenant, scope):
        ring = self.rig.gateway.keyring
        if scope == "forged":
            # The id of a key that exists, well formed, with another secret.
            return mint(ring.create(tenant, 1)[1].id)[0]
        given = {"models": sorted(SCOPES[scope])} if SCOPES[scope] else {}
        key, stored = ring.create(
            tenant, 1, given | ({"expires_at": 5} if scope == "expired" else {})
        )
        if scope == "revoked":
            ring.revoke(tenant, stored.id)
        if scope == "rotated":
            ring.rotate(tenant, stored.id, 1)
        return key

    def seen(self):
        """What the model servers were asked, by model."""
        return Counter({name: len(fake.requests) for name, fake in self.fakes.items()})


@pytest.fixture
async def world(rig):
    async with AsyncExitStack() as stack:
        fakes = {
            name: await stack.enter_async_context(FakeTriton([f"words of {name} "]))
            for name in OPEN_TO
        }
        services, slices = [], []
        for name, listed in OPEN_TO.items():
            access = (
                {"mode": "Everyone"}
                if listed is None
                else {"mode": "Listed", "tenants": sorted(listed)}
            )
            services.append(service(name, task(name), access=access))
            slices += endpoints(name, fakes[name].port)
        tenants = [
            {"metadata": {"name": name}, "spec": {"models": sorted(TENANT_MODELS.get(name, ()))}}
            for name in TENANTS
            if name != "none"
        ]
        rig.gateway.watcher.snapshot.replace("tenants", tenants)
        rig.know(services, slices)
        yield World(rig, fakes)


async def test_each_tenant_reaches_what_it_may_and_nothing_else(world, http):
    assert len(CELLS) >= 1000
    wrong = []
    for tenant, scope, route, model in CELLS:
        method, path, body = route.at(model)
        headers = {"Authorization": f"Bearer {world.keys[tenant, scope]}"}
        before = world.seen()
        async with http.request(method, world.rig.url + path, data=body, headers=headers) as answer:
            text = await answer.text(errors="replace")
        told, asked = expected(tenant, scope, route, model), world.seen() - before
        others = [name for name in OPEN_TO if name != model and name in text]
        asks = {model: 1} if told == 200 and route.task else {}
        if answer.status != told or dict(asked) != asks or others:
            wrong.append((tenant, scope, path, model, answer.status, told, dict(asked), others))
        elif told != 200 and f"words of {model}" in text:
            wrong.append((tenant, scope, path, model, text))
    assert not wrong, wrong[:10]


async def test_models_are_listed_exactly_to_those_who_may_call_them(world, http):
    for tenant, scope in itertools.product(TENANTS, SCOPES):
        headers = {"Authorization": f"Bearer {world.keys[tenant, scope]}"}
        async with http.get(world.rig.url + "/v1/models", headers=headers) as answer:
            told = await answer.json()
        if scope not in GOOD:
            assert answer.status == 401
            continue
        route = Route("POST", "/v1/completions")
        may = {name for name in OPEN_TO if expected(tenant, scope, route, name) == 200}
        assert {model["id"] for model in told["data"]} == may


async def test_grpc_draws_the_same_lines(world):
    async with aio.insecure_channel(f"127.0.0.1:{world.rig.gateway.grpc.number}") as channel:
        stub = stubs.GRPCInferenceServiceStub(channel)
        tried = 0
        for tenant, scope, model in itertools.product(TENANTS, SCOPES, OPEN_TO):
            metadata = (("authorization", f"Bearer {world.keys[tenant, scope]}"),)
            want = expected(tenant, scope, Route("POST", "/v2"), model)
            code = {401: StatusCode.UNAUTHENTICATED, 403: StatusCode.PERMISSION_DENIED}.get(want)

            async def stream(name=model):
                yield pb.ModelInferRequest(model_name=name)

            calls = [stub.ModelReady(pb.ModelReadyRequest(name=model), metadata=metadata)]
            if code is not None:  # whose model server speaks no gRPC here
                calls += [
                    stub.ModelInfer(pb.ModelInferRequest(model_name=model), metadata=metadata),
                    stub.ModelMetadata(pb.ModelMetadataRequest(name=model), metadata=metadata),
                    stub.ModelStreamInfer(stream(), metadata=metadata).read(),
                ]
            for call in calls:
                tried += 1
                try:
                    await call
                    assert code is None, (tenant, scope, model)
                except aio.AioRpcError as error:
                    assert error.code() is code, (tenant, scope, model, error)  # noqa: PT017
        assert tried > 500


CLOSED = (
    "/v2/repository/index", "/v2/repository/models/{m}/load", "/v2/repository/models/{m}/unload",
    "/v2/systemsharedmemory/status", "/v2/systemsharedmemory/region/r/register",
    "/v2/systemsharedmemory/region/r/unregister", "/v2/systemsharedmemory/unregister",
    "/v2/cudasharedmemory/status", "/v2/cudasharedmemory/region/r/register",
    "/v2/cudasharedmemory/unregister", "/v2/trace/setting", "/v2/models/{m}/trace/setting",
    "/v2/logging", "/v2/models/stats", "/v2/models/{m}/stats", "/v2/models/{m}/config",
    "/v2/models/{m}/versions/1/stats", "/metrics/../v2/logging",
)  # fmt: skip
DISGUISES = (
    lambda path: path,
    lambda path: path + "/",
    lambda path: path.replace("/v2/", "//v2/"),
    lambda path: path.replace("/v2/", "/V2/"),
    lambda path: path.replace("/v2/", "/v1/../v2/"),
    lambda path: path.replace("/v2/", "/v2/models/open-text/../../"),
    lambda path: path.replace("/v2/", "/v2/models/open-text%2f..%2f..%2f"),
    lambda path: path.replace("o", "%6f"),
    lambda path: path + "?x=/infer",
    lambda path: path + "%00",
    lambda path: path + "/infer",
    lambda path: path.replace("/v2/", "/v2/;/"),
)


async def test_nothing_else_of_a_model_server_is_reached_however_it_is_spelt(world):
    """By bytes of our own: clients would tidy such paths up."""
    before, key, statuses = world.seen(), world.keys["acme", "whole"], Counter()
    number = world.rig.gateway.data.number
    for path, disguise, method in itertools.product(CLOSED, DISGUISES, ("GET", "POST")):
        target = disguise(path.replace("{m}", "open-text"))
        reader, writer = await asyncio.open_connection("127.0.0.1", number)
        head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        writer.write(f"{head}Content-Length: 2\r\nConnection: close\r\n\r\n{{}}".encode())
        answer = await asyncio.wait_for(reader.read(), 60)
        writer.close()
        status = int(answer.split()[1])
        statuses[status] += 1
        assert 400 <= status < 500, (method, target, answer)
        assert b"words of" not in answer
    assert sum(statuses.values()) == len(CLOSED) * len(DISGUISES) * 2
    assert world.seen() == before


async def test_the_admin_port_takes_no_key_of_a_tenant_and_the_data_port_not_the_admins(
    world, http
):
    admin = ["/tenants/acme/keys", "/tenants/acme/budget", "/tenants/acme/invoices/2026-01",
             "/v1/organization/costs?start_time=1", "/v1/organization/usage/completions?start_time=1"]  # fmt: skip
    keys = [*world.keys.values(), "", ADMIN + "x", ADMIN[:-1], "é"]
    for path, key in itertools.product(admin, keys):
        headers = {"Authorization": f"Bearer {key}"}
        async with http.get(world.rig.admin_url + path, headers=headers) as answer:
            assert answer.status == 401
            assert "acme" not in await answer.text()
        async with http.get(world.rig.url + path, headers=headers) as answer:
            assert answer.status == 404
    headers = {"Authorization": f"Bearer {ADMIN}"}
    for path in ("/v1/models", "/v2/models/open-text"):
        async with http.get(world.rig.url + path, headers=headers) as answer:
            assert answer.status == 401


async def test_one_tenants_keys_cannot_be_managed_as_anothers(world, http):
    headers = {"Authorization": f"Bearer {ADMIN}"}
    async with http.get(world.rig.admin_url + "/tenants/beta/keys", headers=headers) as answer:
        beta = [key["id"] for key in (await answer.json())["data"]]
    assert beta
    for key in beta:
        url = f"{world.rig.admin_url}/tenants/acme/keys/{key}"
        async with http.delete(url, headers=headers) as answer:
            assert answer.status == 404
        async with http.post(url + "/rotate", headers=headers) as answer:
            assert answer.status == 404
    async with http.get(
        world.rig.url + "/v1/models",
        headers={"Authorization": f"Bearer {world.keys['beta', 'whole']}"},
    ) as answer:
        assert answer.status == 200


async def test_no_secret_of_a_key_is_found_in_what_the_gateway_wrote(world, http, caplog):
    for (_, scope), key in world.keys.items():
        for value in (f"Bearer {key}", key, f"Bearer {key}x", f"Basic {key}"):
            async with http.get(
                world.rig.url + "/v1/models", headers={"Authorization": value}
            ) as answer:
                assert (answer.status == 200) == (scope in GOOD and value == f"Bearer {key}")
                assert key not in await answer.text()
    reader, writer = await asyncio.open_connection("127.0.0.1", world.rig.gateway.data.number)
    key = world.keys["acme", "whole"]
    writer.write(f"GET /v1/models HTTP/1.1\r\nAuthorization: Bearer {key}\x07\r\n\r\n".encode())
    assert b" 400 " in await reader.read(100)
    writer.close()
    async with http.get(world.rig.url + "/metrics") as answer:
        seen = (await answer.text()).encode() + caplog.text.encode()
    for file in world.rig.path.rglob("*"):
        if file.is_file():
            seen += file.read_bytes()
    assert len(seen) > 10_000
    for key in world.keys.values():
        secret = key.split("-")[3]
        assert len(secret) == 43
        assert secret.encode() not in seen
