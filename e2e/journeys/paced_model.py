"""A model that talks at its own pace, whatever the machine does: a token each tenth of a second, each
the name of the pod that made it. A trusted Python model of task Generate, written onto a claim.
"""

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field

import aiohttp
import grpc
import grpc.aio
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc as stubs

from e2e.cluster import Cluster
from e2e.coded import model_of, seed_code
from e2e.journeys.wishes import a_service
from e2e.kube import Json, Kube

TOKEN_SECONDS = 0.1
MODEL = f"""
import json, os, socket, threading, time
import numpy as np
import triton_python_backend_utils as utils


def text(value):
    return np.array([value.encode()], dtype=object)


class TritonPythonModel:
    def initialize(self, args):
        time.sleep(float(os.environ.get("TALKER_LOADS_SECONDS", "0")))

    def execute(self, requests):
        for request in requests:
            threading.Thread(target=self.talk, args=(request,)).start()

    def talk(self, request):
        given = utils.get_input_tensor_by_name(request, "REQUEST").as_numpy().flat[0]
        sender, wanted = request.get_response_sender(), json.loads(given)["max_tokens"]
        for made in range(1, wanted + 1):
            time.sleep({TOKEN_SECONDS})
            if sender.is_cancelled():
                break
            sender.send(utils.InferenceResponse([
                utils.Tensor("TEXT", text(socket.gethostname() + " ")),
                utils.Tensor("INPUT_TOKENS", np.array([1], np.int32)),
                utils.Tensor("OUTPUT_TOKENS", np.array([made], np.int32)),
                utils.Tensor("FINISH_REASON", text("length" if made == wanted else "")),
            ]))
        sender.send(flags=utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""


def seed_talker(kube: Kube, namespace: str) -> None:
    """Write the model onto claim ``models``."""
    seed_code(kube, namespace, "talker", MODEL)


def a_talker(name: str, replicas: int, drain: int) -> Json:
    """A service of that many replicas, sized by whoever writes spec.replicas."""
    return a_service(
        name,
        model=model_of("talker"),
        replicas=replicas,
        scaling={"mode": "External", "min": 0, "max": 4},
        drain={"seconds": drain},
    )


@dataclass(slots=True)
class Told:
    """What came of one stream: the pods that made its tokens, and how it ended."""

    wanted: int
    pods: list[str] = field(default_factory=list)
    status: int = 0
    finish: str = ""
    error: Json | None = None
    done: bool = False
    broken: str = ""
    ended: float = 0.0

    @property
    def complete(self) -> bool:
        """Every token that was asked for, the reason, and the last word."""
        return self.done and self.finish == "length" and len(self.pods) == self.wanted

    @property
    def unavailable(self) -> bool:
        """Of a gRPC stream: ended by a status that says why."""
        return self.broken.startswith("UNAVAILABLE: ") and not self.done and not self.finish

    @property
    def cut_explicitly(self) -> bool:
        """Ended by an error in OpenAI's shape, within the protocol, and not as if it were whole."""
        keys = {"message", "type", "param", "code"}
        return (
            self.error is not None and set(self.error) == keys and bool(self.error["message"])
            and not self.done and not self.broken and not self.finish
        )  # fmt: skip


class Talk:
    """Streams through the gateway, read as they come on the wire."""

    def __init__(self, here: Cluster, model: str, session: aiohttp.ClientSession) -> None:
        self._grpc = here.grpc_url
        self._url = f"{here.gateway_url}/v1/completions"
        self._headers = {"Authorization": f"Bearer {here.key()}"}
        self._model = model
        self._session = session

    async def stream(self, tokens: int) -> Told:
        """One stream, to whatever end it has."""
        told = Told(tokens)
        body = {"model": self._model, "prompt": "talk", "max_tokens": tokens, "stream": True}
        try:
            async with self._session.post(self._url, json=body, headers=self._headers) as answer:
                told.status = answer.status
                if answer.status != 200:
                    told.error = (await answer.json())["error"]
                    return told
                async for line in answer.content:
                    if line.startswith(b"data: "):
                        _note(told, line[6:].strip())
        except (aiohttp.ClientError, TimeoutError) as error:
            told.broken = f"{type(error).__name__}: {error}"
        finally:
            told.ended = time.monotonic()
        return told

    async def grpc_stream(self, tokens: int) -> Told:
        """One stream over KServe v2 gRPC, to whatever end it has."""
        told = Told(tokens)
        wish = json.dumps({"prompt": "talk", "max_tokens": tokens}).encode()
        tensor = pb.ModelInferRequest.InferInputTensor(name="REQUEST", datatype="BYTES", shape=[1])
        asked = pb.ModelInferRequest(
            model_name=self._model,
            inputs=[tensor],
            raw_input_contents=[len(wish).to_bytes(4, "little") + wish],
        )
        about = [("authorization", self._headers["Authorization"])]
        try:
            async with grpc.aio.insecure_channel(self._grpc) as channel:
                stub = stubs.GRPCInferenceServiceStub(channel)
                async for answer in stub.ModelStreamInfer(
                    iter([asked]), metadata=about, timeout=180
                ):
                    _note_tensors(told, answer)
            told.done = True
        except grpc.aio.AioRpcError as error:
            told.broken = f"{error.code().name}: {error.details()}"
        finally:
            told.ended = time.monotonic()
        return told

    async def keep_asking(self, enough: asyncio.Event, callers: int, found: list[Told]) -> None:
        """A steady load of short streams until ``enough``: each caller asks again at once."""

        async def ask() -> None:
            while not enough.is_set():
                told = await self.stream(2)
                found.append(told)
                if not told.complete:
                    await asyncio.sleep(0.2)

        await asyncio.gather(*(ask() for _ in range(callers)))


def _note(told: Told, data: bytes) -> None:
    if data == b"[DONE]":
        told.done = True
        return
    given = json.loads(data)
    if "error" in given:
        told.error = given["error"]
        return
    choice = given["choices"][0]
    told.pods += choice["text"].split()
    told.finish = choice["finish_reason"] or told.finish


def _note_tensors(told: Told, answer: pb.ModelStreamInferResponse) -> None:
    if answer.error_message:
        told.error = {"message": answer.error_message}
    named = zip(
        answer.infer_response.outputs, answer.infer_response.raw_output_contents, strict=True
    )
    tensors = {output.name: raw[4:].decode() for output, raw in named if output.datatype == "BYTES"}
    told.pods += tensors.get("TEXT", "").split()
    told.finish = tensors.get("FINISH_REASON") or told.finish


def failures(found: list[Told]) -> Counter[str]:
    """How those that are not complete ended."""
    return Counter(
        f"{t.status} {t.error or t.broken or f'{len(t.pods)} of {t.wanted} tokens'}"[:160]
        for t in found
        if not t.complete
    )
