"""The unmodified tritonclient over gRPC, through the gateway, to a fake model server.

Holds: gateway/endpoints/grpc.py, gateway/relay/grpc_messages.py, gateway/relay/grpc_upstream.py
"""

import asyncio
import queue

import grpc
import grpc.aio
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc as stubs

from preamar.gateway.metering import call as calls
from preamar.gateway.relay import shadow
from preamar.ledger.store.writer import Entry
from tests.gateway.conftest import endpoints, service, until


class Fake(stubs.GRPCInferenceServiceServicer):
    cancelled, wanted = 0, ()

    async def ModelInfer(self, request, context):  # noqa: N802
        if request.id == "bad":
            await context.abort(grpc.StatusCode.INTERNAL, "secret: /dev/shm/region7")
        Fake.wanted = [output.name for output in request.outputs]
        return reply(request.model_name, 3, 0)

    async def ModelStreamInfer(self, requests, context):  # noqa: N802
        try:
            async for request in requests:
                Fake.wanted = [output.name for output in request.outputs]
                for made in range(1, 4):
                    yield pb.ModelStreamInferResponse(
                        infer_response=reply(request.model_name, 2, made, request.id)
                    )
                if request.parameters["how"].string_param == "endless":
                    await asyncio.sleep(60)
                if request.parameters["how"].string_param == "bad":
                    yield pb.ModelStreamInferResponse(error_message="secret: /dev/shm/region7")
        except asyncio.CancelledError:
            Fake.cancelled += 1
            raise


def reply(name, given, made, answers=""):
    counts = {"INPUT_TOKENS": given, "OUTPUT_TOKENS": made}
    outputs = [
        pb.ModelInferResponse.InferOutputTensor(name=n, datatype="INT32", shape=[1]) for n in counts
    ]
    raw = [np.array([c], np.int32).tobytes() for c in counts.values()]
    return pb.ModelInferResponse(
        model_name=name, id=answers, outputs=outputs, raw_output_contents=raw
    )


@pytest.fixture
async def fake(rig):
    server = grpc.aio.server()
    stubs.add_GRPCInferenceServiceServicer_to_server(Fake(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    slices = endpoints("net", 1)
    slices[0]["ports"].append({"name": "grpc", "port": port})
    rig.know([service("net")], [])
    yield slices
    await server.stop(0)


def given():
    tensor = triton.InferInput("IN", [1], "INT32")
    tensor.set_data_from_numpy(np.array([1], np.int32))
    return [tensor]


async def test_one_request_waits_for_a_replica_and_is_counted(rig, fake):
    headers = {"authorization": f"Bearer {rig.key}"}

    def infer():
        with triton.InferenceServerClient(f"127.0.0.1:{rig.gateway.grpc.number}") as client:
            assert client.is_server_live(headers=headers)
            assert not client.is_model_ready("net", headers=headers)
            with pytest.raises(triton.InferenceServerException, match="key"):
                client.infer("net", given())
            with pytest.raises(triton.InferenceServerException, match="does not exist"):
                client.infer("other", given(), headers=headers)
            answer = client.infer("net", given(), headers=headers)
            with pytest.raises(triton.InferenceServerException) as failed:
                client.infer("net", given(), headers=headers, request_id="bad")
            assert "shm" not in str(failed.value)
            with pytest.raises(triton.InferenceServerException):
                client.get_model_repository_index(headers=headers)
            return answer.as_numpy("INPUT_TOKENS")[0]

    task = asyncio.create_task(asyncio.to_thread(infer))
    await until(lambda: len(rig.line("net").hold) == 1)
    rig.know(slices=fake)
    assert await task == 3
    # The row of a failed call is written after its answer.
    await until(lambda: len(rig.rows()) == 2)
    assert sorted((r.status, r.input_tokens) for r in rig.rows()) == [(200, 3), (500, 0)]


async def test_an_answer_that_the_ledger_does_not_take_is_neither_given_nor_charged(
    rig, fake, monkeypatch
):
    monkeypatch.setattr(calls, "LEDGER_SECONDS", 0.05)
    writer = rig.gateway.home.writer
    inner = writer.submit
    monkeypatch.setattr(writer, "submit", lambda r, d=None: Entry(r, d) if d else inner(r))
    rig.know(slices=fake)

    def infer():
        with triton.InferenceServerClient(f"127.0.0.1:{rig.gateway.grpc.number}") as client:
            client.infer("net", given(), headers={"authorization": f"Bearer {rig.key}"})

    with pytest.raises(triton.InferenceServerException, match="cannot be recorded") as refused:
        await asyncio.to_thread(infer)
    assert refused.value.status() == "StatusCode.UNAVAILABLE"
    await until(rig.rows)
    assert [(row.status, row.input_tokens) for row in rig.rows()] == [(503, 0)]


@pytest.mark.parametrize("how", ["", "bad", "endless"])
async def test_a_stream_is_relayed_counted_and_cancelled(rig, fake, how):
    rig.know(slices=fake)
    Fake.cancelled = 0

    def stream():
        found = queue.Queue()
        client = triton.InferenceServerClient(f"127.0.0.1:{rig.gateway.grpc.number}")
        client.start_stream(
            lambda result, error: found.put((result, error)),
            headers={"authorization": f"Bearer {rig.key}"},
        )
        client.async_stream_infer("net", given(), parameters={"how": how})
        got = [found.get(timeout=60) for _ in range(4 if how == "bad" else 3)]
        client.stop_stream(cancel_requests=how == "endless")
        client.close()
        return got

    got = await asyncio.wait_for(asyncio.to_thread(stream), 120)
    assert [r.as_numpy("OUTPUT_TOKENS")[0] for r, _ in got[:3]] == [1, 2, 3]
    if how == "bad":
        assert "shm" not in str(got[3][1])
    await until(lambda: [row.state for row in rig.rows()] == ["done"])
    (row,) = rig.rows()
    assert (row.input_tokens, row.output_tokens) == (2, 3)
    assert row.status == (499 if how == "endless" else 200)
    await until(lambda: Fake.cancelled == (how == "endless"))
    await until(lambda: rig.line("net").running == 0)


class Bent(Fake):
    """Answers otherwise, and says how it was asked."""

    def __init__(self, made):
        self.made, self.bodies = made, []

    async def ModelInfer(self, request, context):  # noqa: N802
        self.bodies.append(request.SerializeToString(deterministic=True))
        return reply(request.model_name, 3, self.made)


@pytest.mark.parametrize("sequence", [0, 5])
async def test_answers_of_a_revision_on_trial_are_compared_by_grpc_too(rig, sequence, monkeypatch):
    monkeypatch.setattr(shadow, "LEAST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(shadow, "PAUSES", 0)
    revisions, servers, slices = (Bent(1), Bent(2)), [], endpoints("net", 1, 2)
    for at, revision in enumerate(revisions):
        servers.append(grpc.aio.server())
        stubs.add_GRPCInferenceServiceServicer_to_server(revision, servers[at])
        port = servers[at].add_insecure_port("127.0.0.1:0")
        await servers[at].start()
        slices[at]["ports"].append({"name": "grpc", "port": port})
    slices[1]["endpoints"][0]["targetRef"]["name"] = "net-canary-6d5f-x2k9p"
    tried = {"revision": "r2", "phase": "Trying", "percent": 100, "tolerance": "0.5"}
    rig.know([service("net", "Infer") | {"status": {"rollout": tried}}], slices)

    def ask():
        headers = {"authorization": f"Bearer {rig.key}"}
        with triton.InferenceServerClient(f"127.0.0.1:{rig.gateway.grpc.number}") as client:
            answer = client.infer("net", given(), headers=headers, sequence_id=sequence)
            return answer.as_numpy("OUTPUT_TOKENS")[0]

    for _ in range(6):
        assert await asyncio.wait_for(asyncio.to_thread(ask), 120) == 2
        await until(lambda: not rig.gateway.comparer._tasks)
    old, new = revisions
    compared = rig.line("net").tried.compared
    assert compared == (0 if sequence else 3)
    # The numbers of both outputs are 3 and 1, and 3 and 2: one differs altogether.
    assert rig.line("net").tried.total == pytest.approx(compared * 1.0 / 0.5)
    assert len(old.bodies) == 2 * compared  # asked again, since that is too far apart
    assert set(old.bodies) <= set(new.bodies)
    await until(lambda: len(rig.rows()) == 6)
    for server in servers:
        await server.stop(0)


class Broken(Fake):
    """A revision that fails on everything, each in its way."""

    def __init__(self, how):
        self.how, self.asked = how, 0

    async def ModelInfer(self, request, context):  # noqa: N802
        self.asked += 1
        await context.abort(grpc.StatusCode.INTERNAL, "it is broken")

    async def ModelStreamInfer(self, requests, context):  # noqa: N802
        async for _ in requests:
            self.asked += 1
            if self.how == "aborts":
                await context.abort(grpc.StatusCode.INTERNAL, "it is broken")
            yield pb.ModelStreamInferResponse(error_message="it is broken")


@pytest.fixture
async def on_trial(rig, fake, request):
    broken, server = Broken(request.param), grpc.aio.server()
    stubs.add_GRPCInferenceServiceServicer_to_server(broken, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    (new,) = endpoints("net", 2)
    new["ports"].append({"name": "grpc", "port": port})
    new["endpoints"][0]["targetRef"]["name"] = "net-canary-6d5f-x2k9p"
    tried = {"revision": "r2", "phase": "Trying", "percent": 100}
    rig.know([service("net") | {"status": {"rollout": tried}}], [*fake, new])
    yield broken
    await server.stop(0)


@pytest.mark.parametrize("on_trial", ["aborts", "says so"], indirect=True)
async def test_what_a_revision_on_trial_fails_on_is_answered_by_the_one_before(rig, on_trial):
    headers = {"authorization": f"Bearer {rig.key}"}

    def ask():
        found = queue.Queue()
        with triton.InferenceServerClient(f"127.0.0.1:{rig.gateway.grpc.number}") as client:
            answer = client.infer("net", given(), headers=headers)
            client.start_stream(lambda result, error: found.put((result, error)), headers=headers)
            client.async_stream_infer("net", given())
            got = [found.get(timeout=60) for _ in range(3)]
            client.stop_stream()
        return answer.as_numpy("INPUT_TOKENS")[0], got

    counted, got = await asyncio.wait_for(asyncio.to_thread(ask), 120)
    assert counted == 3
    assert [r.as_numpy("OUTPUT_TOKENS")[0] for r, error in got if error is None] == [1, 2, 3]
    assert on_trial.asked == 2
    told = rig.line("net").tried.counts()
    assert (told.new.requests, told.new.failures, told.old.failures) == (2, 2, 0)
    await until(lambda: len(rig.rows()) == 2)
    assert [(r.status, r.input_tokens) for r in rig.rows()] == [(200, 3), (200, 2)]


async def test_what_a_call_is_charged_by_is_asked_for_too(rig, fake):
    rig.know([service("net", "Generate")], slices=fake)
    headers = {"authorization": f"Bearer {rig.key}"}

    def call():
        with triton.InferenceServerClient(f"127.0.0.1:{rig.gateway.grpc.number}") as client:
            text = [triton.InferRequestedOutput("TEXT")]
            client.infer("net", given(), headers=headers, outputs=text)
            unary, found = Fake.wanted, queue.Queue()
            client.start_stream(lambda result, error: found.put((result, error)), headers=headers)
            client.async_stream_infer("net", given(), outputs=text)
            assert found.get(timeout=60)[1] is None
            return unary, Fake.wanted

    wanted = ["TEXT", "INPUT_TOKENS", "OUTPUT_TOKENS", "FINISH_REASON"]
    assert await asyncio.to_thread(call) == (wanted, wanted)


@pytest.mark.parametrize(("task", "told"), [("Generate", (4, 6)), ("Embed", (12, 12))])
async def test_several_requests_of_one_stream_are_all_charged(rig, fake, task, told):
    """The stand-in tells of 2 tokens given, and of 1, 2 and 3 made, in three answers to each."""
    rig.know([service("net", task)], slices=fake)

    def stream():
        found = queue.Queue()
        with triton.InferenceServerClient(f"127.0.0.1:{rig.gateway.grpc.number}") as client:
            headers = {"authorization": f"Bearer {rig.key}"}
            client.start_stream(lambda result, error: found.put((result, error)), headers=headers)
            for name in ("mine", "mine"):
                client.async_stream_infer("net", given(), request_id=name)
            got = [found.get(timeout=60) for _ in range(6)]
            client.stop_stream()
            return [result.get_response().id for result, error in got if error is None]

    assert set(await asyncio.to_thread(stream)) == {"mine"}
    await until(lambda: len(rig.rows()) == 1)
    (row,) = rig.rows()
    assert (row.input_tokens, row.output_tokens) == told
