"""KServe v2 gRPC on a port of its own: the same keys, hold, routing and rows; messages pass as bytes.

Only the methods listed exist. Error texts are our own here too.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, NoReturn

import grpc
import grpc.aio

from preamar import __version__
from preamar.gateway.auth.caller import Caller
from preamar.gateway.auth.keyring import Keyring
from preamar.gateway.endpoints.health import State
from preamar.gateway.errors import (
    Problem,
    bad,
    forbidden,
    ledger_down,
    unknown_model,
)
from preamar.gateway.metering.call import LEFT, Books, Call, most_of, new_id
from preamar.gateway.metering.grpc_counts import counts
from preamar.gateway.metering.metrics import NOBODY, UNKNOWN
from preamar.gateway.relay import cost_bounds
from preamar.gateway.relay.grpc_messages import Messages
from preamar.gateway.relay.grpc_upstream import SERVICE, GrpcUpstream
from preamar.gateway.relay.shadow import Comparer
from preamar.gateway.routing.queue import Fleet, Line
from preamar.gateway.settings import Settings
from preamar.gateway.wire import protobuf
from preamar.ledger.store.writer import LedgerUnavailable
from preamar.ledger.tables.usage_record import Kind

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
Context = Any


class GrpcEdge(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Handles the calls of the gRPC port."""

    def __init__(
        self,
        settings: Settings,
        fleet: Fleet,
        keyring: Keyring,
        books: Books,
        state: State,
        comparer: Comparer,
    ) -> None:
        self._settings = settings
        self._fleet = fleet
        self._keyring = keyring
        self._books = books
        self._state = state
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
            "ModelMetadata": lambda body, context: self._unary(body, context, "ModelMetadata"),
            "ModelInfer": lambda body, context: self._unary(body, context, "ModelInfer"),
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

    def heard(self) -> None:
        """Replicas may have left."""
        self._upstream.sweep_soon()

    async def close(self, grace: float) -> None:
        """No new calls; those under way end within ``grace`` seconds."""
        if self._server is not None:
            await self._server.stop(grace)
        await self._upstream.close()

    async def _live(self, _body: bytes, context: Context) -> bytes:
        await self._who(context)
        return YES

    async def _ready(self, _body: bytes, context: Context) -> bytes:
        await self._who(context)
        return YES if self._state.ready else NO

    async def _metadata(self, _body: bytes, context: Context) -> bytes:
        await self._who(context)
        return protobuf.message(1, b"preamar") + protobuf.message(2, __version__.encode())

    async def _model_ready(self, body: bytes, context: Context) -> bytes:
        line = await self._line(body, await self._who(context), context)
        model = line.model
        return YES if line.awake or (model.loaded and model.stalled is None) else NO

    async def _who(self, context: Context) -> Caller:
        given = dict(context.invocation_metadata() or ()).get("authorization", "")
        try:
            return self._keyring.authorize(str(given))
        except Problem as problem:
            await self._refuse(context, problem)

    async def _line(self, body: bytes, caller: Caller, context: Context) -> Line:
        try:
            name = protobuf.text(body, 1)
        except protobuf.NotProtobuf:
            await self._refuse(context, bad("The message is not of KServe v2."), caller)
        line = self._fleet.lines.get(name)
        if line is None:
            await self._refuse(context, unknown_model(name), caller)
        if not self._books.may(caller, line.model):
            await self._refuse(context, forbidden(name), caller, name)
        if not self._books.home.healthy:
            await self._refuse(context, ledger_down(), caller, name)
        return line

    async def _refuse(
        self, context: Context, problem: Problem, caller: Caller | None = None, model: str = UNKNOWN
    ) -> NoReturn:
        self._books.meters.request(model, caller.tenant if caller else NOBODY, problem.status)
        code = _CODES.get(problem.status, grpc.StatusCode.INTERNAL)
        wait = problem.headers.get("Retry-After")
        await context.abort(code, problem.message, (("retry-after", wait),) if wait else ())
        raise AssertionError

    @asynccontextmanager
    async def _call(
        self, line: Line, caller: Caller, context: Context, method: str, size: int
    ) -> AsyncIterator[Call]:
        """An accepted call whose message has that many bytes; leaving the block in any way leaves a
        row."""
        kind = Kind.EMBEDDINGS if line.model.task == "Embed" else Kind.COMPLETIONS
        name, seconds = line.model.name, context.time_remaining()
        most = most_of(line.model, cost_bounds.tokens_of(size), 0, seconds)
        try:
            reservation = await self._books.treasury.admit(
                caller.tenant, caller.key_id, caller.terms, line.model.price, most
            )
        except Problem as problem:
            await self._refuse(context, problem, caller, name)
        model = line.model
        call = Call(self._books, new_id(), caller, model, f"grpc/{method}", kind, reservation)
        call.deadline = None if seconds is None else monotonic() + seconds
        self._state.begin()
        line_status = 500
        try:
            yield call
            line_status = 200
            self._books.meters.request(name, caller.tenant, 200)
        except (Problem, LedgerUnavailable) as error:
            told = error if isinstance(error, Problem) else ledger_down()
            line_status = told.status
            call.settle_soon(line_status)
            await self._refuse(context, told, caller, name)
        except (asyncio.CancelledError, GeneratorExit):
            late = call.deadline is not None and monotonic() >= call.deadline
            line_status = 504 if late else LEFT
            self._books.meters.request(name, caller.tenant, line_status)
            raise
        finally:
            call.settle_soon(line_status)
            self._state.end()
            await self._upstream.sweep()

    async def _unary(self, body: bytes, context: Context, method: str) -> bytes:
        caller = await self._who(context)
        line = await self._line(body, caller, context)
        async with self._call(line, caller, context, method, len(body)) as call:
            answer, replica = await self._upstream.ask(line, method, body, call)
            if method == "ModelInfer":
                call.input_tokens, call.output_tokens = counts(answer)
                call.first_token()
            try:
                await call.settle(200)
            except Problem:
                call.input_tokens = call.output_tokens = 0
                raise
            await context.send_initial_metadata(_about(call))
            if method == "ModelInfer":
                self._upstream.answered(line, replica, body, answer)
            return answer
        raise AssertionError

    async def _stream(
        self, messages: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[bytes]:
        caller = await self._who(context)
        first = await anext(messages, None)
        if first is None:
            return
        line = await self._line(first, caller, context)
        async with self._call(line, caller, context, "ModelStreamInfer", len(first)) as call:
            await context.send_initial_metadata((("x-request-id", call.id),))

            def began() -> None:
                # The head is out since the stream began, so that the caller knew that it is heard.
                context.set_trailing_metadata(_about(call)[1:])

            said = Messages(first, messages, line.model.name)
            try:
                async for answer in self._upstream.converse(line, said, call, began):
                    yield answer
                await call.settle(200)
            finally:
                said.close()


def _about(call: Call) -> tuple[tuple[str, str], ...]:
    about = (("x-request-id", call.id),)
    if call.cold_ms is None:
        return about
    return (*about, ("x-preamar-cold-start-ms", str(call.cold_ms)))


def _async(method: Callable[[bytes, Context], Awaitable[bytes]]) -> Any:
    async def handle(body: bytes, context: Context) -> bytes:
        return await method(body, context)

    return handle
