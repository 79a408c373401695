"""KServe v2 gRPC on a port of its own: the same keys, hold, routing and rows; messages pass as bytes.

Only the methods listed exist. A stream stays on the replica that its first message went to. Error
texts are our own here too.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, NoReturn

import grpc
import grpc.aio

from preamar import __version__
from preamar.gateway import protobuf
from preamar.gateway.call import LEFT, Books, Call, Caller, new_id
from preamar.gateway.errors import (
    Problem,
    bad,
    bad_key,
    forbidden,
    ledger_down,
    model_failed,
    unknown_model,
    unreachable,
)
from preamar.gateway.fleet import Fleet, Line, Place, Replica
from preamar.gateway.keyring import Keyring
from preamar.gateway.metrics import NOBODY, UNKNOWN
from preamar.gateway.settings import Settings
from preamar.gateway.state import State
from preamar.ledger.rows import Kind
from preamar.ledger.writer import LedgerUnavailable

log = logging.getLogger(__name__)
SERVICE = "/inference.GRPCInferenceService/"
ATTEMPTS = 5
YES, NO = b"\x08\x01", b""
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
Context = Any


class GrpcEdge(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Handles the calls of the gRPC port."""

    def __init__(
        self, settings: Settings, fleet: Fleet, keyring: Keyring, books: Books, state: State
    ) -> None:
        self._settings = settings
        self._fleet = fleet
        self._keyring = keyring
        self._books = books
        self._state = state
        self._channels: dict[Replica, Any] = {}
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
        size = self._settings.max_tensor_body
        self._server = grpc.aio.server(
            options=[("grpc.max_receive_message_length", size), ("grpc.so_reuseport", 0)],
            maximum_concurrent_rpcs=self._settings.max_connections,
        )
        self._server.add_generic_rpc_handlers((self,))
        try:
            self.number = self._server.add_insecure_port(f"{host}:{number}")
        except RuntimeError as error:
            raise OSError(f"port {number} for gRPC cannot be opened") from error
        await self._server.start()

    async def close(self, grace: float) -> None:
        """No new calls; those under way end within ``grace`` seconds."""
        if self._server is not None:
            await self._server.stop(grace)
        for channel in self._channels.values():
            await channel.close()

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
        scheme, _, key = str(given).partition(" ")
        caller = self._keyring.caller(key.strip()) if scheme.lower() == "bearer" else None
        if caller is None:
            await self._refuse(context, bad_key(missing=not key))
        return caller

    async def _line(self, body: bytes, caller: Caller, context: Context) -> Line:
        try:
            name = protobuf.text(body, 1)
        except protobuf.NotProtobuf:
            await self._refuse(context, bad("The message is not of KServe v2."), caller)
        line = self._fleet.lines.get(name)
        if line is None:
            await self._refuse(context, unknown_model(name), caller)
        if not line.model.admits(caller.tenant):
            await self._refuse(context, forbidden(name), caller, name)
        if not self._books.writer.healthy:
            await self._refuse(context, ledger_down(), caller, name)
        return line

    async def _refuse(
        self, context: Context, problem: Problem, caller: Caller | None = None, model: str = UNKNOWN
    ) -> NoReturn:
        self._books.meters.request(model, caller.tenant if caller else NOBODY, problem.status)
        code = _CODES.get(problem.status, grpc.StatusCode.INTERNAL)
        await context.abort(code, problem.message)
        raise AssertionError

    @asynccontextmanager
    async def _call(
        self, line: Line, caller: Caller, context: Context, method: str
    ) -> AsyncIterator[Call]:
        """An accepted call; leaving the block in any way leaves a row."""
        kind = Kind.EMBEDDINGS if line.model.task == "Embed" else Kind.COMPLETIONS
        name = line.model.name
        call = Call(self._books, new_id(), caller, name, f"grpc/{method}", kind)
        self._state.begin()
        line_status = 500
        try:
            yield call
            line_status = 200
            self._books.meters.request(name, caller.tenant, 200)
        except (Problem, LedgerUnavailable) as error:
            problem = error if isinstance(error, Problem) else ledger_down()
            line_status = problem.status
            call.settle_soon(line_status)
            await self._refuse(context, problem, caller, name)
        except (asyncio.CancelledError, GeneratorExit):
            line_status = LEFT
            self._books.meters.request(name, caller.tenant, LEFT)
            raise
        finally:
            call.settle_soon(line_status)
            self._state.end()
            await self._sweep()

    async def _unary(self, body: bytes, context: Context, method: str) -> bytes:
        caller = await self._who(context)
        line = await self._line(body, caller, context)
        async with self._call(line, caller, context, method) as call:
            answer = await self._ask(line, method, body)
            if method == "ModelInfer":
                call.input_tokens, call.output_tokens = _counts(answer)
                call.first_token()
            try:
                await call.settle(200)
            except Problem:
                call.input_tokens = call.output_tokens = 0
                raise
            await context.send_initial_metadata((("x-request-id", call.id),))
            return answer
        raise AssertionError

    async def _ask(self, line: Line, method: str, body: bytes) -> bytes:
        turn, deadline = line.turn(), monotonic() + line.model.hold_seconds
        for attempt in range(ATTEMPTS):
            place = await line.enter(turn, deadline)
            reached = True
            try:
                send = self._channel(place.replica).unary_unary(SERVICE + method)
                return bytes(await send(body, timeout=self._settings.answer_seconds))
            except grpc.aio.AioRpcError as error:
                reached = not _not_sent(error)
                if reached:
                    raise _explained(line, error) from None
            finally:
                place.release(reached=reached)
            await asyncio.sleep(0.05 * attempt)
        raise unreachable(line.model.name)

    async def _stream(
        self, messages: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[bytes]:
        caller = await self._who(context)
        first = await anext(messages, None)
        if first is None:
            return
        line = await self._line(first, caller, context)
        async with self._call(line, caller, context, "ModelStreamInfer") as call:
            await context.send_initial_metadata((("x-request-id", call.id),))
            turn = line.turn()
            place = await line.enter(turn, monotonic() + line.model.hold_seconds)
            try:
                async for answer in self._relay(place, line, first, messages, call):
                    yield answer
                await call.settle(200)
            finally:
                place.release()

    async def _relay(
        self, place: Place, line: Line, first: bytes, messages: AsyncIterator[bytes], call: Call
    ) -> AsyncIterator[bytes]:
        async def given() -> AsyncIterator[bytes]:
            yield first
            async for message in messages:
                # One stream, one model: another one could be out of this caller's reach.
                if protobuf.text(message, 1) != line.model.name:
                    return
                yield message

        sending = self._channel(place.replica).stream_stream(SERVICE + "ModelStreamInfer")(given())
        done_given = done_made = 0
        latest = (0, 0)
        try:
            async for answer in sending:
                inner, failed = _inner(answer)
                if failed:
                    yield protobuf.message(1, model_failed(line.model.name).message.encode())
                    continue
                counted = _counts(inner)
                if counted[1] < latest[1]:
                    # The next request on the stream counts from its own beginning.
                    done_given, done_made = done_given + latest[0], done_made + latest[1]
                latest = counted if counted != (0, 0) else latest
                if not call.output_tokens:
                    call.first_token()
                call.input_tokens = done_given + latest[0]
                call.output_tokens = done_made + latest[1]
                call.mark()
                yield bytes(answer)
        except grpc.aio.AioRpcError as error:
            raise _explained(line, error) from None
        finally:
            sending.cancel()

    def _channel(self, replica: Replica) -> Any:
        channel = self._channels.get(replica)
        if channel is None:
            ip = f"[{replica.address.ip}]" if ":" in replica.address.ip else replica.address.ip
            channel = self._channels[replica] = grpc.aio.insecure_channel(
                f"{ip}:{replica.address.grpc}",
                options=[
                    ("grpc.max_receive_message_length", -1),
                    ("grpc.max_send_message_length", -1),
                    ("grpc.use_local_subchannel_pool", 1),
                ],
            )
        return channel

    async def _sweep(self) -> None:
        """Close channels of replicas that left."""
        for replica in [r for r in self._channels if not r.usable and not r.in_flight]:
            await self._channels.pop(replica).close()


def _async(method: Callable[[bytes, Context], Awaitable[bytes]]) -> Any:
    async def handle(body: bytes, context: Context) -> bytes:
        return await method(body, context)

    return handle


def _counts(response: bytes) -> tuple[int, int]:
    try:
        return protobuf.token_counts(response)
    except protobuf.NotProtobuf:
        return 0, 0


def _inner(answer: bytes) -> tuple[bytes, bool]:
    """The response within a stream's message, and whether the message is an error."""
    inner, failed = b"", False
    try:
        for number, value in protobuf.fields(answer):
            if number == 1 and value:
                failed = True
            elif number == 2 and isinstance(value, bytes):
                inner = value
    except protobuf.NotProtobuf:
        failed = True
    return inner, failed


def _not_sent(error: grpc.aio.AioRpcError) -> bool:
    details = error.details() or ""
    return error.code() is grpc.StatusCode.UNAVAILABLE and "ailed to connect" in details


def _explained(line: Line, error: grpc.aio.AioRpcError) -> Problem:
    name = line.model.name
    if _not_sent(error):
        return unreachable(name)
    if error.code() in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}:
        return bad(f"The model '{name}' refused the request: check its inputs.")
    return model_failed(name)
