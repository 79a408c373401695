"""What callers notice of a model that was given up, or that takes smaller batches than were asked.

Holds: gateway/relay/cost_bounds.py, gateway/discovery/resources.py
"""

import asyncio
import json

import grpc
import grpc.aio
import openai
import pytest
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc as stubs

from preamar.core.pods import ContainerView, Ended
from preamar.core.serving.reconcile import reconcile
from tests.core.builders import a_pod, a_service, seen
from tests.gateway.routing.test_zero import DOORS, ask

from .conftest import endpoints, service, until
from .fake_triton import FakeTriton

BROKEN = ContainerView("triton", restarts=5, waiting="CrashLoopBackOff", ended_before=Ended(1))


def given_up(name, task="Generate"):
    """As the operator leaves one whose replicas have never come up."""
    asked = a_service(name, model={"task": task, "name": name})
    plan = reconcile(seen(asked, pods=(a_pod(asked, BROKEN),)))
    assert plan.status["status"]["fit"]["givenUp"]
    return asked.json_body() | {"status": plan.status["status"]}


@pytest.mark.parametrize("path", DOORS)
async def test_a_model_that_was_given_up_refuses_at_once_at_every_door(rig, http, path):
    rig.know([given_up("gpt"), given_up("vec", "Embed")], [])
    async with asyncio.timeout(60):
        status, headers, text = await ask(http, rig, path, DOORS[path])
    assert status == 503
    assert int(headers["Retry-After"]) == 60
    assert "ModelCrashes" in text
    assert not rig.line("gpt").hold


async def test_a_model_that_was_given_up_refuses_at_once_on_grpc(rig):
    rig.know([given_up("gpt")], [])
    async with grpc.aio.insecure_channel(f"127.0.0.1:{rig.gateway.grpc.number}") as channel:
        key = tuple((name.lower(), value) for name, value in rig.auth.items())
        call = stubs.GRPCInferenceServiceStub(channel).ModelInfer
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(pb.ModelInferRequest(model_name="gpt"), metadata=key, timeout=60)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "ModelCrashes" in refused.value.details()


async def test_who_waits_when_a_model_is_given_up_is_told_so_at_once(rig, http):
    rig.know([service("gpt")], [])
    waits = asyncio.create_task(ask(http, rig))
    await until(lambda: rig.line("gpt").hold)
    rig.know([given_up("gpt")])
    async with asyncio.timeout(60):
        status, _, text = await waits
    assert (status, json.loads(text)["error"]["code"]) == (503, "model_stalled")


@pytest.mark.parametrize(("made", "sent"), [(None, 5), (2, 2), (9, 5), ("x", 5), (0, 5)])
async def test_no_batch_is_larger_than_replicas_were_made_for(rig, made, sent):
    asked = service("vec", "Embed", runtime={"batching": {"maxBatchSize": 5}})
    status = {"status": {"fit": {"maxBatchSize": made}}} if made is not None else {}
    async with FakeTriton() as fake:
        rig.know([asked | status], endpoints("vec", fake.port))
        embed = openai.AsyncOpenAI(base_url=f"{rig.url}/v1", api_key=rig.key, max_retries=0)
        answer = await embed.embeddings.create(model="vec", input=[f"text {n}" for n in range(10)])
        assert len(answer.data) == 10
        assert len(fake.requests) == 10 // sent
