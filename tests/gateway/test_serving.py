"""Hold, routing, passthrough, keys and drain, over real sockets.

Holds: gateway/errors.py, gateway/server.py, gateway/discovery/catalog.py,
gateway/endpoints/admin.py, gateway/endpoints/health.py, gateway/endpoints/kserve.py,
gateway/endpoints/kserve_stream.py, gateway/routing/queue.py
"""

import asyncio
import json
import random
import signal
import sys

import aiohttp
import numpy as np
import pytest
import tritonclient.http

from preamar.gateway.discovery.catalog import Snapshot

from .conftest import ADMIN, endpoints, service, until
from .fake_triton import FakeTriton

ASK = {"model": "gpt", "prompt": "hi"}


async def ask(http, rig, path="/v1/completions", **body):
    async with http.post(rig.url + path, json=ASK | body, headers=rig.auth) as answer:
        return answer.status, answer.headers, await answer.text()


async def test_requests_wait_for_the_first_replica_and_say_how_long(rig, http):
    async with FakeTriton() as fake:
        rig.know([service("gpt")], [])
        waiting = [asyncio.create_task(ask(http, rig)) for _ in range(20)]
        await until(lambda: len(rig.line("gpt").hold) == 20)
        await asyncio.sleep(0.15)
        rig.know(slices=endpoints("gpt", fake.port))
        answers = await asyncio.gather(*waiting)
        assert {status for status, _, _ in answers} == {200}
        assert all(int(h["x-preamar-cold-start-ms"]) >= 100 for _, h, _ in answers)
        assert fake.finished == 20


async def test_the_hold_is_bounded_in_number(rig, http):
    rig.know([service("gpt", hold={"maxRequests": 3})], [])
    waiting = [asyncio.create_task(ask(http, rig)) for _ in range(3)]
    await until(lambda: len(rig.line("gpt").hold) == 3)
    status, headers, text = await ask(http, rig)
    assert (status, json.loads(text)["error"]["code"]) == (503, "hold_full")
    assert 1 <= int(headers["Retry-After"]) <= 120
    for each in waiting:
        each.cancel()
    await until(lambda: not rig.line("gpt").hold)


async def test_the_hold_is_bounded_in_time(rig, http):
    rig.know([service("gpt", hold={"maxSeconds": 3})], [])
    assert rig.line("gpt").model.hold_seconds == 3
    rig.held_for("gpt", 0.1)
    answers = await asyncio.gather(*(ask(http, rig) for _ in range(3)))
    assert {json.loads(text)["error"]["code"] for _, _, text in answers} == {"hold_timeout"}
    assert not rig.line("gpt").hold


async def test_a_client_that_leaves_the_hold_is_gone_at_once_and_leaves_a_record(rig, http):
    rig.know([service("gpt")], [])
    task = asyncio.create_task(ask(http, rig))
    await until(lambda: len(rig.line("gpt").hold) == 1)
    task.cancel()
    await until(lambda: len(rig.line("gpt").hold) == 0)
    await until(rig.rows)
    assert [row.status for row in rig.rows()] == [499]


async def test_a_stalled_or_deleted_model_lets_nobody_wait(rig, http):
    rig.know([service("gpt")], [])
    first = asyncio.create_task(ask(http, rig))
    await until(lambda: rig.line("gpt").hold)
    stalled = service("gpt") | {
        "status": {"conditions": [{"type": "Stalled", "status": "True", "reason": "ModelNotFound"}]}
    }
    rig.know([stalled])
    status, _, text = await first
    assert (status, json.loads(text)["error"]["code"]) == (503, "model_stalled")
    rig.know([service("gpt")])
    second = asyncio.create_task(ask(http, rig))
    await until(lambda: rig.line("gpt").hold)
    rig.know([])
    assert (await second)[0] == 404


async def test_a_replica_that_refuses_connections_is_passed_over(rig, http):
    async with FakeTriton() as dead, FakeTriton() as fake:
        await dead.__aexit__()
        rig.know([service("gpt")], endpoints("gpt", dead.port, fake.port))
        answers = await asyncio.gather(*(ask(http, rig) for _ in range(12)))
        assert {status for status, _, _ in answers} == {200}
        assert fake.finished == 12


async def test_a_request_whose_replica_hangs_up_before_answering_is_tried_again(rig, http):
    async with FakeTriton() as fake:
        fake.hang_up = 1
        rig.know([service("gpt")], endpoints("gpt", fake.port))
        assert (await ask(http, rig))[0] == 200
        assert rig.line("gpt").running == 0
        fake.hang_up = 1000
        assert (await ask(http, rig))[0] == 502
        await until(lambda: sorted(row.status for row in rig.rows()) == [200, 502])
        assert rig.line("gpt").running == 0
        tries = [await ask(http, rig) for _ in range(30)]
        assert {status for status, _, _ in tries} == {502}
        assert len(fake.requests) <= 32 + 15


async def test_nothing_is_lost_or_answered_twice_while_replicas_come_and_go(rig, http):
    chance = random.Random(7)
    async with (
        FakeTriton(pause=0.01) as a,
        FakeTriton(pause=0.01) as b,
        FakeTriton(pause=0.01) as c,
    ):
        rig.know([service("gpt")], endpoints("gpt", a.port))
        tasks = []
        for _ in range(150):
            tasks.append(asyncio.create_task(ask(http, rig)))
            await asyncio.sleep(0.004)
            if chance.random() < 0.3:
                ports = [f.port for f in (a, b, c) if chance.random() < 0.5]
                rig.know(slices=endpoints("gpt", *ports))
        rig.know(slices=endpoints("gpt", a.port, b.port, c.port))
        answers = await asyncio.gather(*tasks)
        assert [status for status, _, _ in answers] == [200] * 150
        assert a.finished + b.finished + c.finished == 150
        ids = [headers["x-request-id"] for _, headers, _ in answers]
        assert sorted(row.id for row in rig.rows()) == sorted(ids)
        assert rig.line("gpt").running == 0


async def test_load_is_shared_by_least_in_flight_and_the_rest_waits_here(rig, http):
    async with FakeTriton() as a, FakeTriton() as b:
        a.gate.clear()
        b.gate.clear()
        spec = {"scaling": {"target": {"value": "2"}}, "runtime": {"batching": {"maxBatchSize": 1}}}
        rig.know([service("gpt", **spec)], endpoints("gpt", a.port, b.port))
        tasks = [asyncio.create_task(ask(http, rig)) for _ in range(12)]
        await until(lambda: len(a.requests) + len(b.requests) + len(rig.line("gpt").hold) == 12)
        assert (len(a.requests), len(b.requests), len(rig.line("gpt").hold)) == (4, 4, 4)
        async with http.get(rig.url + "/metrics") as answer:
            text = await answer.text()
        assert 'preamar_gateway_queue_depth{model="gpt"} 4.0' in text
        assert f'preamar_gateway_in_flight{{model="gpt",pod="pod-{a.port}"}} 4.0' in text
        a.gate.set()
        b.gate.set()
        assert {status for status, _, _ in await asyncio.gather(*tasks)} == {200}


async def test_idle_connections_of_a_terminating_pod_are_closed(rig, http):
    async with FakeTriton() as fake:
        rig.know([service("gpt")], endpoints("gpt", fake.port))
        await ask(http, rig)
        (replica,) = rig.line("gpt").replicas.values()
        (idle,) = replica.pool._idle
        rig.know(slices=endpoints("gpt", fake.port, ready=False, terminating=True))
        await until(lambda: not idle.usable)


async def test_binary_tensors_pass_untouched_to_an_unmodified_tritonclient(rig):
    async with FakeTriton() as fake:
        values = np.arange(6, dtype=np.float32).reshape(1, 6)
        head = json.dumps({"model_name": "net", "outputs": [{
            "name": "OUT", "datatype": "FP32", "shape": [1, 6],
            "parameters": {"binary_data_size": 24}}]}).encode()  # fmt: skip
        fake.answer = (head, values.tobytes())
        rig.know([service("net", "Infer")], endpoints("net", fake.port))

        def infer():
            with tritonclient.http.InferenceServerClient(rig.url.removeprefix("http://")) as triton:
                assert triton.is_server_live(headers=rig.auth)
                assert triton.is_model_ready("net", headers=rig.auth)
                assert triton.get_model_metadata("net", headers=rig.auth)["name"] == "net"
                given = tritonclient.http.InferInput("IN", [1, 6], "FP32")
                given.set_data_from_numpy(values, binary_data=True)
                return triton.infer("net", [given], headers=rig.auth).as_numpy("OUT")

        assert (await asyncio.to_thread(infer) == values).all()
        _, headers, body = fake.requests[0]
        assert body.endswith(values.tobytes())
        assert "Authorization" not in headers


@pytest.mark.parametrize("path", [
    "/v2/repository/index", "/v2/repository/models/net/load", "/v2/systemsharedmemory/status",
    "/v2/cudasharedmemory/region/x/register", "/v2/trace/setting", "/v2/logging",
    "/v2/models/net/config", "/v2/models/net/trace/setting", "/v2/models/stats",
    "/v2/models/net/../../repository/index", "/v2/models/net/infer/", "/v2/models/net%2Fx/infer",
])  # fmt: skip
async def test_other_routes_of_the_model_server_do_not_exist(rig, http, path):
    async with FakeTriton() as fake:
        rig.know([service("net", "Infer")], endpoints("net", fake.port))
        for method in ("GET", "POST"):
            async with http.request(method, rig.url + path, headers=rig.auth) as answer:
                assert answer.status in {404, 405}
        assert not fake.requests


async def test_text_of_the_model_server_is_never_passed_on(rig, http):
    async with FakeTriton() as fake:
        rig.know([service("net", "Infer")], endpoints("net", fake.port))
        for fake.status, expected in ((400, 400), (500, 500), (503, 500)):
            async with http.post(
                f"{rig.url}/v2/models/net/infer", data=b"{}", headers=rig.auth
            ) as a:
                assert a.status == expected
                text = await a.text()
                assert "shm" not in text
                assert set(json.loads(text)["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(("how", "status"), [("die_after", 502), ("error_after", 500)])
@pytest.mark.parametrize("words", [0, 1, 2])
async def test_events_that_break_off_end_with_one_of_our_own(rig, http, how, status, words):
    async with FakeTriton(pause=0.01) as fake:
        setattr(fake, how, words)
        rig.know([service("gpt")], endpoints("gpt", fake.port))
        body = {"REQUEST": json.dumps({"prompt": "hi"})}
        async with http.post(
            f"{rig.url}/v2/models/gpt/generate_stream", json=body, headers=rig.auth
        ) as answer:
            text = await answer.text()
        # One event is kept back, so before the second the status is still to be had.
        assert answer.status == (200 if words == 2 else status)
        *_, last = text.strip().split("\n\n")
        assert set(json.loads(last.removeprefix("data: "))["error"]) == {
            "message", "type", "param", "code",
        }  # fmt: skip
        assert "shm" not in text
        await until(rig.rows)
        (row,) = rig.rows()
        assert (row.status, row.output_tokens) == (status, 2 if words == 2 else 0)


async def test_junk_is_refused_with_a_sentence(rig, http):
    rig.know([service("gpt")], [])
    for body, status in ((b"{", 400), (b"[]", 400), (b"[" * 5000, 400), (b"x" * (9 << 20), 413)):
        async with http.post(rig.url + "/v1/completions", data=body, headers=rig.auth) as answer:
            assert answer.status == status
    async with http.post(rig.url + "/v1/completions", json=ASK) as answer:
        assert answer.status == 401
    async with http.get(rig.url + "/v1/completions", headers=rig.auth) as answer:
        assert answer.status == 405


async def test_keys_are_shown_once_and_end_at_once(rig, http):
    rig.know([service("gpt")], [])
    admin = {"Authorization": f"Bearer {ADMIN}"}
    async with http.post(f"{rig.admin_url}/tenants/beta/keys", headers=admin) as answer:
        assert answer.status == 201
        made = await answer.json()
    beta = {"Authorization": f"Bearer {made['key']}"}
    async with http.get(rig.url + "/v1/models", headers=beta) as answer:
        assert answer.status == 200
    async with http.get(f"{rig.admin_url}/tenants/beta/keys", headers=admin) as answer:
        listed = await answer.text()
        assert made["id"] in listed
        assert made["key"] not in listed
    async with http.delete(f"{rig.admin_url}/tenants/acme/keys/{made['id']}", headers=admin) as a:
        assert a.status == 404
    async with http.delete(f"{rig.admin_url}/tenants/beta/keys/{made['id']}", headers=admin) as a:
        assert a.status == 204
    async with http.get(rig.url + "/v1/models", headers=beta) as answer:
        assert answer.status == 401
    async with http.post(f"{rig.admin_url}/tenants/beta/keys", headers=beta) as answer:
        assert answer.status == 401
    secret = made["key"].split("-")[3].encode()
    for path in rig.path.glob("ledger*"):
        assert secret not in path.read_bytes()


async def test_the_oldest_service_owns_a_name_and_the_snapshot_survives(rig):
    old, new = service("one", age=1), service("two", age=2)
    for body in (old, new):
        body["spec"]["model"]["name"] = "same"
    rig.know([new, old], endpoints("one", 1234))
    assert rig.line("same").model.service == "demo/one"
    rig.gateway.watcher.save()
    loaded = Snapshot.load(json.loads(rig.gateway.settings.snapshot.read_bytes()))
    assert loaded == rig.gateway.watcher.snapshot


async def test_sigterm_finishes_streams_flushes_and_exits_with_zero(tmp_path, http):
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for name in ("admin-key", "internal-key", "pepper"):
        (secrets / name).write_text(name * 4)
    async with FakeTriton(words=["w "] * 40) as fake:
        fake.rest.clear()
        heard = Snapshot()
        heard.replace("services", [service("gpt")])
        heard.replace("slices", endpoints("gpt", fake.port))
        (tmp_path / "s.json").write_text(json.dumps(heard.dump()))
        port = random.randint(20000, 29000)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c",
            "import sys; from preamar.gateway.server import run; sys.exit(run(sys.argv[1:]))",
            "--no-cluster", "--host", "127.0.0.1", "--port", str(port), "--admin-port",
            str(port + 1), "--grpc-port", "-1", "--secrets-dir", str(secrets), "--ledger",
            str(tmp_path / "ledger.sqlite"), "--snapshot", str(tmp_path / "s.json"),
            "--propagation-seconds", "600", "--grace-seconds", "60",
            env={"PYTHONPATH": "operator"},
        )  # fmt: skip
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(600):
                try:
                    async with http.get(url + "/readyz") as answer:
                        if answer.status == 200:
                            break
                except aiohttp.ClientError:
                    await asyncio.sleep(0.1)
            admin = {"Authorization": "Bearer " + "admin-key" * 4}
            async with http.post(f"http://127.0.0.1:{port + 1}/tenants/t/keys", headers=admin) as a:
                auth = {"Authorization": f"Bearer {(await a.json())['key']}"}
            stream = await http.post(
                url + "/v1/completions", json=ASK | {"stream": True}, headers=auth
            )
            await stream.content.readany()
            process.send_signal(signal.SIGTERM)
            for _ in range(3000):
                async with http.get(url + "/readyz") as answer:
                    if answer.status == 503:
                        break
                await asyncio.sleep(0.01)
            assert answer.status == 503
            async with http.get(url + "/v1/models", headers=auth) as answer:
                assert answer.status == 200
                assert answer.headers["Connection"] == "close"
            process.send_signal(signal.SIGTERM)  # enough: everybody knows
            fake.rest.set()
            text = (await stream.content.read()).decode()
            assert text.endswith("data: [DONE]\n\n")
            assert await asyncio.wait_for(process.wait(), 60) == 0
        finally:
            if process.returncode is None:
                process.kill()
