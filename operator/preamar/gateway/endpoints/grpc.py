"""KServe v2 gRPC on a port of its own: the same keys, hold, routing and rows; messages pass as bytes.

Only the methods listed exist. Error texts are our own here too.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import grpc
import grpc.aio

from preamar import __version__
from preamar.gateway.endpoints.health import GatewayHealth
from preamar.gateway.errors import Problem, bad
from preamar.gateway.metering.admission import Admission, RequestContext
from preamar.gateway.metering.call import Call
from preamar.gateway.metering.grpc_counts import counts
from preamar.gateway.metering.settlement import Settlement
from preamar.gateway.relay import cost_bounds
from preamar.gateway.relay.grpc_messages import Messages
from preamar.gateway.relay.grpc_upstream import SERVICE, GrpcUpstream
from preamar.gateway.relay.shadow import Comparer
from preamar.gateway.routing.queue import ModelQueue
from preamar.gateway.settings import Settings
from preamar.gateway.wire import protobuf

YES, NO = b"\x08\x01", b""
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    502: grpc.StatusCode.UNAVAILABLE,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
Rpc = Any


class GrpcDoor(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Handles the calls of the gRPC port."""

    def __init__(
        self, settings: Settings, admission: Admission, health: GatewayHealth, comparer: Comparer
    ) -> None:
        self._settings = settings
        self._admission = admission
        self._health = health
        self._upstream = GrpcUpstream(settings.answer_seconds, comparer)
        self._server: Any = None
        self.number = 0

    def service(self, handler_call_details: Any) -> Any:
        """The handler of a method, None where there is none."""
        name = handler_call_details.method.removeprefix(SERVICE)
        if name == "ModelStreamInfer":
            return grpc.stream_stream_rpc_method_handler(self._stream)
        unary = {
            "ServerLive": self._live,
            "ServerReady": self._ready,
            "ServerMetadata": self._metadata,
            "ModelReady": self._model_ready,
            "ModelMetadata": lambda body, rpc: self._unary(body, rpc, "ModelMetadata"),
            "ModelInfer": lambda body, rpc: self._unary(body, rpc, "ModelInfer"),
        }.get(name)
        return grpc.unary_unary_rpc_method_handler(_async(unary)) if unary else None

    async def listen(self, host: str, number: int) -> None:
        """Raises ``OSError`` where the port is taken."""
        settings = self._settings
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", settings.max_tensor_body),
                ("grpc.so_reuseport", 0),
                # What comments are to a stream of events: who waits is not taken for dead.
                ("grpc.keepalive_time_ms", int(settings.keep_alive_seconds * 1000)),
                ("grpc.http2.max_pings_without_data", 0),
            ],
            maximum_concurrent_rpcs=settings.max_connections,
        )
        self._server.add_generic_rpc_handlers((self,))
        try:
            self.number = self._server.add_insecure_port(f"{host}:{number}")
        except RuntimeError as error:
            raise OSError(f"port {number} for gRPC cannot be opened") from error
        await self._server.start()

    def follow(self) -> None:
        """Replicas may have left."""
        self._upstream.sweep_soon()

    async def close(self, grace: float) -> None:
        """No new calls; those under way end within ``grace`` seconds."""
        if self._server is not None:
            await self._server.stop(grace)
        await self._upstream.close()

    async def _live(self, _body: bytes, rpc: Rpc) -> bytes:
        async with self._request(rpc):
            return YES

    async def _ready(self, _body: bytes, rpc: Rpc) -> bytes:
        async with self._request(rpc):
            return YES if self._health.ready else NO

    async def _metadata(self, _body: bytes, rpc: Rpc) -> bytes:
        async with self._request(rpc):
            return protobuf.message(1, b"preamar") + protobuf.message(2, __version__.encode())

    async def _model_ready(self, body: bytes, rpc: Rpc) -> bytes:
        async with self._request(rpc) as request:
            return YES if self._find(request, body).ready else NO

    @asynccontextmanager
    async def _request(self, rpc: Rpc) -> AsyncIterator[RequestContext]:
        """A request with a key that is known. What ends the block is what its caller is told."""
        request = RequestContext()
        seconds = rpc.time_remaining()
        if seconds is not None:
            request.wait(seconds)
        try:
            metadata = dict(rpc.invocation_metadata() or ())
            self._admission.identify(request, str(metadata.get("authorization", "")))
            yield request
            if request.call is not None:
                self._admission.ended(request, 200)
        except Problem as problem:
            self._admission.ended(request, problem.status)
            await _abort(rpc, problem)
        except (asyncio.CancelledError, GeneratorExit) as error:
            if request.call is not None:
                self._admission.ended(request, request.call.status_of(error))
            raise
        finally:
            if request.call is not None:
                self._health.end()
                await self._upstream.sweep()

    def _find(self, request: RequestContext, message: bytes) -> ModelQueue:
        """Raises ``Problem``."""
        try:
            name = protobuf.text(message, 1)
        except protobuf.NotProtobuf:
            raise bad("The message is not of KServe v2.") from None
        return self._admission.find(request, name)

    async def _admit(
        self, request: RequestContext, queue: ModelQueue, method: str, size: int
    ) -> Call:
        """An accepted call whose message has that many bytes. Raises ``Problem``."""
        most = cost_bounds.tokens_of(size)
        call = await self._admission.admit(request, queue, f"grpc/{method}", most)
        self._health.begin()
        return call

    async def _unary(self, body: bytes, rpc: Rpc, method: str) -> bytes:
        async with self._request(rpc) as request:
            queue = self._find(request, body)
            with await self._admit(request, queue, method, len(body)) as call:
                async with Settlement(call):
                    answer, replica = await self._upstream.ask(queue, method, body, call)
                    if method == "ModelInfer":
                        call.input_tokens, call.output_tokens = counts(answer)
                        call.first_token()
                await rpc.send_initial_metadata(_about(call))
                if method == "ModelInfer":
                    self._upstream.answered(queue, replica, body, answer)
                return answer
        raise AssertionError

    async def _stream(self, messages: AsyncIterator[bytes], rpc: Rpc) -> AsyncIterator[bytes]:
        async with self._request(rpc) as request:
            first = await anext(messages, None)
            if first is None:
                return
            queue = self._find(request, first)
            with await self._admit(request, queue, "ModelStreamInfer", len(first)) as call:
                await rpc.send_initial_metadata((("x-request-id", call.id),))

                def began() -> None:
                    # The head went out at once, so that the caller knew that it is heard.
                    rpc.set_trailing_metadata(_about(call)[1:])

                requests = Messages(first, messages, queue.model.name)
                try:
                    async with Settlement(call) as settlement:
                        async for answer in self._upstream.converse(queue, requests, call, began):
                            settlement.began()
                            yield answer
                finally:
                    requests.close()


async def _abort(rpc: Rpc, problem: Problem) -> NoReturn:
    code = _CODES.get(problem.status, grpc.StatusCode.INTERNAL)
    wait = problem.headers.get("Retry-After")
    await rpc.abort(code, problem.message, (("retry-after", wait),) if wait else ())
    raise AssertionError


def _about(call: Call) -> tuple[tuple[str, str], ...]:
    about = (("x-request-id", call.id),)
    if call.cold_ms is None:
        return about
    return (*about, ("x-preamar-cold-start-ms", str(call.cold_ms)))


def _async(method: Callable[[bytes, Rpc], Awaitable[bytes]]) -> Any:
    async def handle(body: bytes, rpc: Rpc) -> bytes:
        return await method(body, rpc)

    return handle
